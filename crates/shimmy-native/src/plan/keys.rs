//! Metadata entries of an architecture. Owns their names' form and what a wrong type means.

use shimmy_models::Metadata;
use shimmy_models::gguf::Value;

use super::PlanError;
use crate::error::{Fault, Unsupported};

/// The entries of a model, by their names without the architecture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
}

impl<'a> Keys<'a> {
    pub(super) fn new(metadata: &'a Metadata) -> Self {
        Self { metadata }
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.metadata.architecture())
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.metadata.get(&self.key(name))
    }

    /// A whole number; none if there is no such entry. An array, which has a number for each layer,
    /// is taken where all are equal.
    pub(super) fn find_number(&self, name: &str) -> Result<Option<usize>, PlanError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let value = match value {
            Value::Array(items) => match items.split_first() {
                Some((first, rest)) if rest.iter().all(|item| item == first) => first,
                _ => return Err(self.unsupported(name, "different for each layer")),
            },
            value => value,
        };
        let number = value
            .as_u64()
            .and_then(|number| usize::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.fault(name))
    }

    pub(super) fn number(&self, name: &str) -> Result<usize, PlanError> {
        self.find_number(name)?.ok_or_else(|| self.fault(name))
    }

    /// A finite float; none if there is no such entry.
    pub(super) fn find_float(&self, name: &str) -> Result<Option<f32>, PlanError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let float = value.as_f64().map(|float| float as f32);
        let float = float.filter(|float| float.is_finite());
        float.map(Some).ok_or_else(|| self.fault(name))
    }

    /// A float that is neither zero nor absent, as `scale` entries are where they mean something.
    pub(super) fn factor(&self, name: &str) -> Result<Option<f32>, PlanError> {
        Ok(self.find_float(name)?.filter(|&factor| factor != 0.0))
    }

    pub(super) fn float(&self, name: &str) -> Result<f32, PlanError> {
        self.find_float(name)?.ok_or_else(|| self.fault(name))
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.get(name).and_then(Value::as_str)
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(Value::as_bool)
    }

    /// The second dimension of the token embeddings.
    pub(super) fn vocabulary(&self) -> Result<usize, PlanError> {
        let name = "token_embd.weight";
        let mut tensors = self.metadata.tensors().iter();
        let tensor = tensors.find(|tensor| tensor.name == name);
        let tensor = tensor.ok_or_else(|| Fault::Missing(name.to_owned()))?;
        usize::try_from(tensor.dims[1]).map_err(|_| Fault::Shape(name.to_owned()).into())
    }

    pub(super) fn fault(&self, name: &str) -> PlanError {
        Fault::Key(self.key(name)).into()
    }

    pub(super) fn unsupported(&self, name: &str, value: &str) -> PlanError {
        let key = self.key(name);
        let value = value.to_owned();
        Unsupported::Setting { key, value }.into()
    }
}

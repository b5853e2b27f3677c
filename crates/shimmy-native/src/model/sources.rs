//! Which tensors of a file are which weights. Owns their names, and the check that a file has what a
//! plan needs and nothing that it does not know; reads no tensor.

mod encoder;

use std::collections::HashMap;
use std::ops::Range;

use shimmy_models::Metadata;
use shimmy_models::gguf::TensorInfo;

use super::weights::{Layer, RopeFactors, Weights};
use crate::error::{Fault, Unsupported};
use crate::plan::{Experts, Plan, PlanError};
use crate::quant::Kind;

/// Where a matrix is in the file.
#[derive(Debug, Clone)]
pub(super) struct MatrixSource {
    /// The tensor's name, by which adapters change it.
    pub(super) name: String,
    pub(super) tensor: usize,
    pub(super) kind: Kind,
    pub(super) inputs: usize,
    /// Some files keep several matrices in one tensor: the first row of this one, and how many.
    pub(super) first: usize,
    pub(super) outputs: usize,
    pub(super) bias: Option<VectorSource>,
    /// Whether these are the matrices of several experts, one after the other.
    pub(super) is_of_experts: bool,
}

/// Where some floats are in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct VectorSource {
    pub(super) tensor: usize,
    pub(super) kind: Kind,
    pub(super) first: usize,
    pub(super) length: usize,
}

pub(super) type Sources = Weights<MatrixSource, VectorSource>;

pub(super) use encoder::{EncoderSources, find_encoder};

/// Finds all weights of a plan.
pub(super) fn find(plan: &Plan, metadata: &Metadata) -> Result<Sources, PlanError> {
    let mut table = Table::new(metadata.tensors());
    let sources = table.weights(plan)?;
    table.check_rest()?;
    Ok(sources)
}

/// The tensor table, with what of it has been asked for.
struct Table<'a> {
    tensors: &'a [TensorInfo],
    by_name: HashMap<&'a str, usize>,
    used: Vec<bool>,
}

impl<'a> Table<'a> {
    fn new(tensors: &'a [TensorInfo]) -> Self {
        let names = tensors.iter().enumerate();
        Self {
            tensors,
            by_name: names
                .map(|(index, tensor)| (tensor.name.as_str(), index))
                .collect(),
            used: vec![false; tensors.len()],
        }
    }

    fn weights(&mut self, plan: &Plan) -> Result<Sources, PlanError> {
        let embedding = self.matrix("token_embd", plan.width, plan.vocabulary)?;
        let output = if self.has("output") {
            self.matrix("output", plan.width, plan.vocabulary)?
        } else {
            embedding.clone()
        };
        let layers = (0..plan.layers).map(|layer| self.layer(plan, layer));
        let half = plan.rope.dimensions / 2;
        Ok(Weights {
            layers: layers.collect::<Result<_, _>>()?,
            output_norm: self.vector("output_norm.weight", plan.width)?,
            embedding: embedding.tensor,
            embedding_kind: embedding.kind,
            output,
            rope_factors: RopeFactors {
                all: self.find_vector("rope_freqs.weight", half)?,
                short: self.find_vector("rope_factors_short.weight", half)?,
                long: self.find_vector("rope_factors_long.weight", half)?,
            },
        })
    }

    fn layer(
        &mut self,
        plan: &Plan,
        layer: usize,
    ) -> Result<Layer<MatrixSource, VectorSource>, PlanError> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let norm = |part: &str| format!("blk.{layer}.{part}.weight");
        let width = plan.width;
        let queries = plan.query_width();
        let [query, key, value] = self.attention(layer, width, [queries, plan.key_width()])?;
        let (router, [gate, up, down]) = match plan.experts {
            Some(Experts { count, .. }) => self.experts(plan, layer, count)?,
            None => (None, self.feed_forward(plan, layer)?),
        };
        Ok(Layer {
            attention_norm: self.vector(&norm("attn_norm"), width)?,
            query,
            key,
            value,
            query_norm: self.find_vector(&norm("attn_q_norm"), plan.head)?,
            key_norm: self.find_vector(&norm("attn_k_norm"), plan.head)?,
            attention_output: self.matrix(&name("attn_output"), queries, width)?,
            attention_post_norm: self.find_vector(&norm("post_attention_norm"), width)?,
            feed_forward_norm: self.vector(&norm("ffn_norm"), width)?,
            router,
            gate,
            up,
            down,
            feed_forward_post_norm: self.find_vector(&norm("post_ffw_norm"), width)?,
        })
    }

    /// Gate, values and output of a layer's feed-forward network.
    fn feed_forward(&mut self, plan: &Plan, layer: usize) -> Result<[MatrixSource; 3], PlanError> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (width, inner) = (plan.width, plan.feed_forward);
        let up = name("ffn_up");
        let [gate, up] = if self.has(&name("ffn_gate")) {
            let gate = self.matrix(&name("ffn_gate"), width, inner)?;
            [gate, self.matrix(&up, width, inner)?]
        } else {
            let gate = self.rows(&up, width, 0..inner, 2 * inner)?;
            [gate, self.rows(&up, width, inner..2 * inner, 2 * inner)?]
        };
        Ok([gate, up, self.matrix(&name("ffn_down"), inner, width)?])
    }

    /// Queries, keys and values of a layer, of which some files have one matrix.
    fn attention(
        &mut self,
        layer: usize,
        width: usize,
        [queries, keys]: [usize; 2],
    ) -> Result<[MatrixSource; 3], PlanError> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let joined = name("attn_qkv");
        if !self.has(&joined) {
            return Ok([
                self.matrix(&name("attn_q"), width, queries)?,
                self.matrix(&name("attn_k"), width, keys)?,
                self.matrix(&name("attn_v"), width, keys)?,
            ]);
        }
        let all = queries + 2 * keys;
        Ok([
            self.rows(&joined, width, 0..queries, all)?,
            self.rows(&joined, width, queries..queries + keys, all)?,
            self.rows(&joined, width, queries + keys..all, all)?,
        ])
    }

    /// What chooses a layer's experts, and their matrices as above.
    fn experts(
        &mut self,
        plan: &Plan,
        layer: usize,
        count: usize,
    ) -> Result<(Option<MatrixSource>, [MatrixSource; 3]), PlanError> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (width, inner) = (plan.width, plan.feed_forward);
        Ok((
            Some(self.matrix(&name("ffn_gate_inp"), width, count)?),
            [
                self.matrices(&name("ffn_gate_exps"), width, inner, count)?,
                self.matrices(&name("ffn_up_exps"), width, inner, count)?,
                self.matrices(&name("ffn_down_exps"), inner, width, count)?,
            ],
        ))
    }

    /// The matrices of so many experts in `name.weight`.
    fn matrices(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        count: usize,
    ) -> Result<MatrixSource, PlanError> {
        let name = format!("{name}.weight");
        let index = self.index(&name)?;
        let dims = [inputs as u64, outputs as u64, count as u64, 1];
        if self.tensors[index].dims != dims {
            return Err(Fault::Shape(name).into());
        }
        Ok(MatrixSource {
            name,
            tensor: index,
            kind: self.kind(index)?,
            inputs,
            first: 0,
            outputs: outputs * count,
            bias: None,
            is_of_experts: true,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(format!("{name}.weight").as_str())
    }

    /// The matrix `name.weight`, with its bias if there is one.
    fn matrix(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
    ) -> Result<MatrixSource, PlanError> {
        self.rows(name, inputs, 0..outputs, outputs)
    }

    /// Some rows of such a matrix, which has so many in all.
    fn rows(
        &mut self,
        name: &str,
        inputs: usize,
        rows: Range<usize>,
        all: usize,
    ) -> Result<MatrixSource, PlanError> {
        let weight = format!("{name}.weight");
        let index = self.index(&weight)?;
        if self.tensors[index].dims != [inputs as u64, all as u64, 1, 1] {
            return Err(Fault::Shape(weight).into());
        }
        let kind = self.kind(index)?;
        let bias = self.find_vector(&format!("{name}.bias"), all)?;
        Ok(MatrixSource {
            name: weight,
            tensor: index,
            kind,
            inputs,
            first: rows.start,
            outputs: rows.len(),
            bias: bias.map(|bias| VectorSource {
                first: rows.start,
                length: rows.len(),
                ..bias
            }),
            is_of_experts: false,
        })
    }

    fn vector(&mut self, name: &str, length: usize) -> Result<VectorSource, PlanError> {
        let index = self.index(name)?;
        if self.tensors[index].elements() != length as u64 {
            return Err(Fault::Shape(name.to_owned()).into());
        }
        let kind = self.kind(index)?;
        if !kind.is_float() {
            return Err(self.format(index));
        }
        Ok(VectorSource {
            tensor: index,
            kind,
            first: 0,
            length,
        })
    }

    fn find_vector(
        &mut self,
        name: &str,
        length: usize,
    ) -> Result<Option<VectorSource>, PlanError> {
        match self.by_name.contains_key(name) {
            true => self.vector(name, length).map(Some),
            false => Ok(None),
        }
    }

    fn index(&mut self, name: &str) -> Result<usize, PlanError> {
        let index = self.by_name.get(name).copied();
        let index = index.ok_or_else(|| Fault::Missing(name.to_owned()))?;
        self.used[index] = true;
        Ok(index)
    }

    fn kind(&self, index: usize) -> Result<Kind, PlanError> {
        Kind::new(self.tensors[index].kind).ok_or_else(|| self.format(index))
    }

    fn format(&self, index: usize) -> PlanError {
        let tensor = &self.tensors[index];
        let number = || format!("type {}", tensor.kind.number());
        Unsupported::Format {
            tensor: tensor.name.clone(),
            format: tensor.kind.name().map_or_else(number, ToOwned::to_owned),
        }
        .into()
    }

    /// A tensor that nobody asked for means that the model computes something more.
    fn check_rest(&self) -> Result<(), PlanError> {
        let mut rest = self.tensors.iter().zip(&self.used);
        match rest.find(|(_, used)| !**used) {
            Some((tensor, _)) => Err(Unsupported::Tensor(tensor.name.clone()).into()),
            None => Ok(()),
        }
    }
}

//! Which tensors of a file are the weights of an encoder.

use shimmy_engine::Pooling;
use shimmy_models::Metadata;

use super::{MatrixSource, Table, VectorSource};
use crate::error::Fault;
use crate::model::encoder::{EncoderLayer, EncoderWeights, Head, Norm};
use crate::plan::{EncoderPlan, PlanError};

pub(in crate::model) type EncoderSources = EncoderWeights<MatrixSource, VectorSource>;

/// Finds all weights of a plan.
pub(in crate::model) fn find_encoder(
    plan: &EncoderPlan,
    metadata: &Metadata,
) -> Result<EncoderSources, PlanError> {
    let mut table = Table::new(metadata.tensors());
    let sources = table.encoder(plan)?;
    table.check_rest()?;
    Ok(sources)
}

impl Table<'_> {
    fn encoder(&mut self, plan: &EncoderPlan) -> Result<EncoderSources, PlanError> {
        let embedding = self.matrix("token_embd", plan.width, plan.vocabulary)?;
        let layers = (0..plan.layers).map(|layer| self.encoder_layer(plan, layer));
        let layers = layers.collect::<Result<_, _>>()?;
        let positions = match plan.rope {
            Some(_) => None,
            None => Some(self.vector("position_embd.weight", plan.context * plan.width)?),
        };
        Ok(EncoderWeights {
            embedding: embedding.tensor,
            embedding_kind: embedding.kind,
            token_type: self.first_type(plan.width)?,
            positions,
            embedding_norm: self.norm("token_embd_norm", plan.width)?,
            layers,
            head: self.head(plan)?,
        })
    }

    fn encoder_layer(
        &mut self,
        plan: &EncoderPlan,
        layer: usize,
    ) -> Result<EncoderLayer<MatrixSource, VectorSource>, PlanError> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (width, inner) = (plan.width, plan.feed_forward);
        let [query, key, value] = self.attention(layer, width, [width, width])?;
        let gate = match plan.is_gated {
            true => Some(self.matrix(&name("ffn_gate"), width, inner)?),
            false => None,
        };
        Ok(EncoderLayer {
            query,
            key,
            value,
            attention_output: self.matrix(&name("attn_output"), width, width)?,
            attention_norm: self.norm(&name("attn_output_norm"), width)?,
            gate,
            up: self.matrix(&name("ffn_up"), width, inner)?,
            down: self.matrix(&name("ffn_down"), inner, width)?,
            output_norm: self.norm(&name("layer_output_norm"), width)?,
        })
    }

    fn norm(&mut self, name: &str, length: usize) -> Result<Norm<VectorSource>, PlanError> {
        Ok(Norm {
            weight: self.vector(&format!("{name}.weight"), length)?,
            bias: self.vector(&format!("{name}.bias"), length)?,
        })
    }

    /// The first row of the embeddings of types.
    fn first_type(&mut self, width: usize) -> Result<Option<VectorSource>, PlanError> {
        let name = "token_types.weight";
        let Some(&index) = self.by_name.get(name) else {
            return Ok(None);
        };
        let types = self.tensors[index].dims[1] as usize;
        let all = self.vector(name, types.saturating_mul(width))?;
        Ok(Some(VectorSource {
            length: width,
            ..all
        }))
    }

    /// The head of a model that ranks. Others that carry one along do not use it.
    fn head(&mut self, plan: &EncoderPlan) -> Result<Option<Head<MatrixSource>>, PlanError> {
        let dense = match self.has("cls") {
            true => Some(self.matrix("cls", plan.width, plan.width)?),
            false => None,
        };
        let output = match self.by_name.get("cls.output.weight") {
            Some(&index) => {
                let labels = self.tensors[index].dims[1] as usize;
                Some(self.matrix("cls.output", plan.width, labels)?)
            }
            None => None,
        };
        match (plan.pooling, output) {
            (Pooling::Rank, None) => Err(Fault::Missing("cls.output.weight".to_owned()).into()),
            (Pooling::Rank, Some(output)) => Ok(Some(Head { dense, output })),
            _ => Ok(None),
        }
    }
}

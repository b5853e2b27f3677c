//! The weights of an encoder, by what they are for, as [those of a decoder](super::weights).

use super::weights::Convert;
use crate::quant::Kind;

/// All weights.
#[derive(Debug)]
pub(crate) struct EncoderWeights<M, V> {
    /// The number of the tensor with the token embeddings, and how it is stored.
    pub(crate) embedding: usize,
    pub(crate) embedding_kind: Kind,
    /// The embedding of the type that all tokens have here: the first.
    pub(crate) token_type: Option<V>,
    /// The embeddings of all positions, one after the other.
    pub(crate) positions: Option<V>,
    pub(crate) embedding_norm: Norm<V>,
    pub(crate) layers: Vec<EncoderLayer<M, V>>,
    /// What makes a score of a row.
    pub(crate) head: Option<Head<M>>,
}

/// A norm with a bias.
#[derive(Debug)]
pub(crate) struct Norm<V> {
    pub(crate) weight: V,
    pub(crate) bias: V,
}

/// One layer.
#[derive(Debug)]
pub(crate) struct EncoderLayer<M, V> {
    pub(crate) query: M,
    pub(crate) key: M,
    pub(crate) value: M,
    pub(crate) attention_output: M,
    pub(crate) attention_norm: Norm<V>,
    /// Where the network is gated.
    pub(crate) gate: Option<M>,
    pub(crate) up: M,
    pub(crate) down: M,
    pub(crate) output_norm: Norm<V>,
}

/// What makes a score of a row: perhaps a matrix and a hyperbolic tangent, then another matrix.
#[derive(Debug)]
pub(crate) struct Head<M> {
    pub(crate) dense: Option<M>,
    pub(crate) output: M,
}

impl<M, V> EncoderWeights<M, V> {
    pub(crate) fn convert<C: Convert<M, V>>(
        self,
        to: &mut C,
    ) -> Result<EncoderWeights<C::Matrix, C::Vector>, C::Error> {
        let layers = self.layers.into_iter().map(|layer| layer.convert(to));
        let layers = layers.collect::<Result<_, _>>()?;
        let head = self.head.map(|head| {
            Ok(Head {
                dense: head.dense.map(|dense| to.matrix(dense)).transpose()?,
                output: to.matrix(head.output)?,
            })
        });
        let head = head.transpose()?;
        let mut optional = |vector: Option<V>| vector.map(|vector| to.vector(vector)).transpose();
        Ok(EncoderWeights {
            embedding: self.embedding,
            embedding_kind: self.embedding_kind,
            token_type: optional(self.token_type)?,
            positions: optional(self.positions)?,
            embedding_norm: self.embedding_norm.convert(to)?,
            layers,
            head,
        })
    }

    /// All matrices, in the order of conversion.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = &M> {
        let layers = self.layers.iter().flat_map(EncoderLayer::matrices);
        let head = self.head.iter();
        layers.chain(head.flat_map(|head| head.dense.iter().chain([&head.output])))
    }
}

impl<V> Norm<V> {
    fn convert<M, C: Convert<M, V>>(self, to: &mut C) -> Result<Norm<C::Vector>, C::Error> {
        Ok(Norm {
            weight: to.vector(self.weight)?,
            bias: to.vector(self.bias)?,
        })
    }
}

impl<M, V> EncoderLayer<M, V> {
    fn convert<C: Convert<M, V>>(
        self,
        to: &mut C,
    ) -> Result<EncoderLayer<C::Matrix, C::Vector>, C::Error> {
        Ok(EncoderLayer {
            query: to.matrix(self.query)?,
            key: to.matrix(self.key)?,
            value: to.matrix(self.value)?,
            attention_output: to.matrix(self.attention_output)?,
            attention_norm: self.attention_norm.convert(to)?,
            gate: self.gate.map(|gate| to.matrix(gate)).transpose()?,
            up: to.matrix(self.up)?,
            down: to.matrix(self.down)?,
            output_norm: self.output_norm.convert(to)?,
        })
    }

    fn matrices(&self) -> impl Iterator<Item = &M> {
        let attention = [&self.query, &self.key, &self.value, &self.attention_output];
        let gate = self.gate.iter();
        attention
            .into_iter()
            .chain(gate)
            .chain([&self.up, &self.down])
    }
}

//! The weights of a decoder, by what they are for: `M` stands for a matrix and `V` for a vector, so
//! that what is sought in a file and what is held in memory have one shape.

use crate::quant::Kind;

/// All weights.
#[derive(Debug)]
pub(crate) struct Weights<M, V> {
    /// The number of the tensor with the token embeddings, and how it is stored.
    pub(crate) embedding: usize,
    pub(crate) embedding_kind: Kind,
    pub(crate) layers: Vec<Layer<M, V>>,
    pub(crate) output_norm: V,
    pub(crate) output: M,
    pub(crate) rope_factors: RopeFactors<V>,
}

/// What the frequencies of the rotation are divided by.
#[derive(Debug, Default)]
pub(crate) struct RopeFactors<V> {
    pub(crate) all: Option<V>,
    pub(crate) short: Option<V>,
    pub(crate) long: Option<V>,
}

/// One layer.
#[derive(Debug)]
pub(crate) struct Layer<M, V> {
    pub(crate) attention_norm: V,
    pub(crate) query: M,
    pub(crate) key: M,
    pub(crate) value: M,
    /// Norms of each head.
    pub(crate) query_norm: Option<V>,
    pub(crate) key_norm: Option<V>,
    pub(crate) attention_output: M,
    pub(crate) attention_post_norm: Option<V>,
    pub(crate) feed_forward_norm: V,
    /// Chooses the experts of a row. Where there is one, the three matrices below are those of all
    /// experts, one after the other.
    pub(crate) router: Option<M>,
    pub(crate) gate: M,
    pub(crate) up: M,
    pub(crate) down: M,
    pub(crate) feed_forward_post_norm: Option<V>,
}

/// Makes weights of one form from those of another, in a fixed order.
pub(crate) trait Convert<M, V> {
    /// The form to make.
    type Matrix;
    /// The form to make.
    type Vector;
    /// Why it may fail.
    type Error;

    fn matrix(&mut self, matrix: M) -> Result<Self::Matrix, Self::Error>;
    fn vector(&mut self, vector: V) -> Result<Self::Vector, Self::Error>;
}

impl<M, V> Weights<M, V> {
    pub(crate) fn convert<C: Convert<M, V>>(
        self,
        to: &mut C,
    ) -> Result<Weights<C::Matrix, C::Vector>, C::Error> {
        let optional =
            |to: &mut C, vector: Option<V>| vector.map(|vector| to.vector(vector)).transpose();
        let rope_factors = RopeFactors {
            all: optional(to, self.rope_factors.all)?,
            short: optional(to, self.rope_factors.short)?,
            long: optional(to, self.rope_factors.long)?,
        };
        let layers = self.layers.into_iter().map(|layer| layer.convert(to));
        Ok(Weights {
            embedding: self.embedding,
            embedding_kind: self.embedding_kind,
            layers: layers.collect::<Result<_, _>>()?,
            output_norm: to.vector(self.output_norm)?,
            output: to.matrix(self.output)?,
            rope_factors,
        })
    }

    /// All matrices, in the order of conversion.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = &M> {
        self.layers
            .iter()
            .flat_map(Layer::matrices)
            .chain([&self.output])
    }
}

impl<M, V> Layer<M, V> {
    fn convert<C: Convert<M, V>>(
        self,
        to: &mut C,
    ) -> Result<Layer<C::Matrix, C::Vector>, C::Error> {
        let optional =
            |to: &mut C, vector: Option<V>| vector.map(|vector| to.vector(vector)).transpose();
        Ok(Layer {
            attention_norm: to.vector(self.attention_norm)?,
            query: to.matrix(self.query)?,
            key: to.matrix(self.key)?,
            value: to.matrix(self.value)?,
            query_norm: optional(to, self.query_norm)?,
            key_norm: optional(to, self.key_norm)?,
            attention_output: to.matrix(self.attention_output)?,
            attention_post_norm: optional(to, self.attention_post_norm)?,
            feed_forward_norm: to.vector(self.feed_forward_norm)?,
            router: self.router.map(|router| to.matrix(router)).transpose()?,
            gate: to.matrix(self.gate)?,
            up: to.matrix(self.up)?,
            down: to.matrix(self.down)?,
            feed_forward_post_norm: optional(to, self.feed_forward_post_norm)?,
        })
    }

    fn matrices(&self) -> impl Iterator<Item = &M> {
        let attention = [&self.query, &self.key, &self.value, &self.attention_output];
        let feed_forward = [&self.gate, &self.up, &self.down];
        let attention = attention.into_iter().chain(&self.router);
        attention.chain(feed_forward)
    }
}

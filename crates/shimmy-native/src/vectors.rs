//! Vectors of texts: the last layer's rows, pooled as the model's metadata say. Owns how texts are
//! packed into steps. Those that a decoder reads have a cache of their own, in halves, which lasts for
//! one call.

use std::sync::atomic::AtomicBool;

use shimmy_engine::{Pooling, Token};

use crate::cache::Cache;
use crate::kernels::CacheType;
use crate::step::{Aborted, EncoderStepper, Rows, Stepper};

/// Texts that an encoder reads together, at most: each has blocks of its own.
pub(crate) const STEP_TEXTS: usize = 128;

/// The vectors of texts, each computed on its own, in steps of `batch` rows at most.
pub(crate) fn vectors(
    stepper: &mut Stepper,
    texts: &[Vec<Token>],
    batch: usize,
    abort: &AtomicBool,
) -> Result<Vec<Vec<f32>>, Aborted> {
    let (pooling, width) = (stepper.plan().pooling, stepper.plan().width);
    let rows: Vec<(usize, usize)> = positions(texts).collect();
    let shape = Stepper::shape(stepper.plan(), CacheType::F16);
    let mut cache = Cache::new(shape, rows.len(), texts.len());
    let mut vectors = vec![vec![0.0; width]; texts.len()];
    let mut step = Rows::default();
    for rows in rows.chunks(batch) {
        fill(&mut step, texts, rows);
        let wanted: Vec<_> = step
            .sequences
            .iter()
            .map(|&(text, _, rows)| (text, rows))
            .collect();
        // It was made large enough.
        cache.extend(&wanted).map_err(|_| Aborted)?;
        stepper.run_to_vectors(&step, &mut cache, abort)?;
        for (place, &(text, position)) in rows.iter().enumerate() {
            let length = texts[text].len();
            if counts(pooling, position, length) {
                let row = stepper.vector(place);
                add(&mut vectors[text], row, pooling, length);
            }
        }
        for (text, rows) in wanted {
            cache.advance(text, rows);
            if cache.length(text) == Some(texts[text].len()) {
                cache.truncate(text, 0);
            }
        }
    }
    Ok(vectors)
}

/// The same by an encoder, which reads each text as a whole: in steps of `batch` rows at most, or of one
/// text that is longer.
pub(crate) fn encoded(
    stepper: &mut EncoderStepper,
    texts: &[Vec<Token>],
    batch: usize,
    abort: &AtomicBool,
) -> Result<Vec<Vec<f32>>, Aborted> {
    let (pooling, width) = (stepper.plan().pooling, stepper.plan().width);
    let mut vectors = vec![vec![0.0; width]; texts.len()];
    let mut step = Rows::default();
    let mut first = 0;
    while first < texts.len() {
        let mut rows = 0;
        let fits = |text: &&Vec<Token>| {
            rows += text.len();
            rows <= batch
        };
        let some = texts[first..].iter().take(STEP_TEXTS);
        let count = some.take_while(fits).count().max(1);
        let texts = &texts[first..first + count];
        let vectors = &mut vectors[first..first + count];
        first += count;
        let rows: Vec<(usize, usize)> = positions(texts).collect();
        fill(&mut step, texts, &rows);
        let counted = |&place: &usize| {
            let (text, position) = rows[place];
            counts(pooling, position, texts[text].len())
        };
        step.outputs.retain(counted);
        stepper.run(&step, abort)?;
        for (output, &place) in step.outputs.iter().enumerate() {
            let text = rows[place].0;
            add(
                &mut vectors[text],
                stepper.vector(output),
                pooling,
                texts[text].len(),
            );
        }
    }
    Ok(match pooling {
        Pooling::Rank => stepper.scores(vectors),
        Pooling::Mean | Pooling::Cls | Pooling::Last => vectors,
    })
}

/// A text whose rows are computed in parts.
#[derive(Debug)]
pub(crate) struct Unfinished {
    cache: Cache,
    vector: Vec<f32>,
}

impl Unfinished {
    /// Nothing of a text of so many tokens.
    pub(crate) fn new(stepper: &Stepper, length: usize) -> Self {
        let plan = stepper.plan();
        Self {
            cache: Cache::new(Stepper::shape(plan, CacheType::F16), length, 1),
            vector: vec![0.0; plan.width],
        }
    }

    /// How many of its tokens are computed.
    pub(crate) fn done(&self) -> usize {
        self.cache.length(0).unwrap_or(0)
    }

    /// Computes its next tokens up to `end`, in steps of `batch` rows at most.
    pub(crate) fn go_on(
        &mut self,
        stepper: &mut Stepper,
        (text, end): (&[Token], usize),
        batch: usize,
        abort: &AtomicBool,
    ) -> Result<(), Aborted> {
        let pooling = stepper.plan().pooling;
        let mut step = Rows::default();
        while self.done() < end {
            let first = self.done();
            let rows = batch.min(end - first);
            step.clear();
            step.sequences.push((0, 0, rows));
            step.tokens.extend(&text[first..first + rows]);
            step.positions.extend(first as u32..(first + rows) as u32);
            step.outputs.extend(0..rows);
            // It was made large enough.
            self.cache.extend(&[(0, rows)]).map_err(|_| Aborted)?;
            stepper.run_to_vectors(&step, &mut self.cache, abort)?;
            for place in 0..rows {
                if counts(pooling, first + place, text.len()) {
                    add(&mut self.vector, stepper.vector(place), pooling, text.len());
                }
            }
            self.cache.advance(0, rows);
        }
        Ok(())
    }

    /// What became of all of it.
    pub(crate) fn into_vector(self) -> Vec<f32> {
        self.vector
    }
}

/// The rows of texts: the number of the text and the position in it.
fn positions(texts: &[Vec<Token>]) -> impl Iterator<Item = (usize, usize)> {
    let texts = texts.iter().enumerate();
    texts.flat_map(|(number, text)| (0..text.len()).map(move |position| (number, position)))
}

/// Whether the row at a position of a text counts for its vector.
fn counts(pooling: Pooling, position: usize, length: usize) -> bool {
    match pooling {
        // A head that ranks looks at the first row.
        Pooling::Cls | Pooling::Rank => position == 0,
        Pooling::Last => position + 1 == length,
        Pooling::Mean => true,
    }
}

/// Makes a step of rows, which are in order.
fn fill(step: &mut Rows, texts: &[Vec<Token>], rows: &[(usize, usize)]) {
    step.clear();
    for (place, &(text, position)) in rows.iter().enumerate() {
        match step.sequences.last_mut() {
            Some((last, _, count)) if *last == text => *count += 1,
            _ => step.sequences.push((text, place, 1)),
        }
        step.tokens.push(texts[text][position]);
        step.positions.push(position as u32);
        step.outputs.push(place);
    }
}

fn add(vector: &mut [f32], row: &[f32], pooling: Pooling, length: usize) {
    let part = match pooling {
        Pooling::Mean => 1.0 / length as f32,
        Pooling::Cls | Pooling::Last | Pooling::Rank => 1.0,
    };
    for (sum, value) in vector.iter_mut().zip(row) {
        *sum += value * part;
    }
}

//! A batch in the layout of llama.cpp, in memory of our own, checked before llama.cpp sees it.

use llama_cpp_sys_2 as sys;
use shimmy_engine::Row;

use crate::error::InvalidBatch;

/// What a batch must keep to. llama.cpp ends the process where it does not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) rows: usize,
    pub(crate) outputs: usize,
    pub(crate) vocabulary: usize,
    pub(crate) sequences: usize,
    /// Whether every row has output, asked for or not, as when embeddings are computed.
    pub(crate) output_all: bool,
}

/// The rows of the last batch, column by column.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    tokens: Vec<sys::llama_token>,
    positions: Vec<sys::llama_pos>,
    /// How many sequences each row belongs to: always 1.
    sequence_counts: Vec<i32>,
    sequences: Vec<sys::llama_seq_id>,
    /// One pointer into `sequences` for each row, as llama.cpp wants them.
    sequence_pointers: Vec<*mut sys::llama_seq_id>,
    outputs: Vec<i8>,
}

impl Columns {
    /// Takes over `rows`, or says what is wrong with them and is empty.
    pub(crate) fn fill(&mut self, rows: &[Row], bounds: &Bounds) -> Result<(), InvalidBatch> {
        self.clear();
        if rows.is_empty() {
            return Err(InvalidBatch::Empty);
        }
        if rows.len() > bounds.rows {
            return Err(InvalidBatch::TooManyRows {
                rows: rows.len(),
                limit: bounds.rows,
            });
        }
        let filled = self.push_all(rows, bounds);
        if filled.is_err() {
            self.clear();
        }
        filled
    }

    fn push_all(&mut self, rows: &[Row], bounds: &Bounds) -> Result<(), InvalidBatch> {
        let mut outputs = 0;
        for (row, entry) in rows.iter().enumerate() {
            let Row {
                token,
                position,
                sequence,
                output,
            } = *entry;
            if token as usize >= bounds.vocabulary {
                let vocabulary = bounds.vocabulary;
                return Err(InvalidBatch::UnknownToken {
                    row,
                    token,
                    vocabulary,
                });
            }
            if sequence.0 as usize >= bounds.sequences {
                let (sequence, sequences) = (sequence.0, bounds.sequences);
                return Err(InvalidBatch::UnknownSequence {
                    row,
                    sequence,
                    sequences,
                });
            }
            let Ok(place) = sys::llama_pos::try_from(position) else {
                return Err(InvalidBatch::PositionTooFar { row, position });
            };
            let output = output || bounds.output_all;
            outputs += usize::from(output);
            // Both are below limits that came from llama.cpp as `i32`.
            self.tokens.push(token as sys::llama_token);
            self.sequences.push(sequence.0 as sys::llama_seq_id);
            self.positions.push(place);
            self.sequence_counts.push(1);
            self.outputs.push(output.into());
        }
        if outputs > bounds.outputs {
            return Err(InvalidBatch::TooManyOutputs {
                outputs,
                limit: bounds.outputs,
            });
        }
        Ok(())
    }

    fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequence_counts.clear();
        self.sequences.clear();
        self.outputs.clear();
    }

    /// Forgets that any row had output, for a batch that was not computed.
    pub(crate) fn forget_outputs(&mut self) {
        self.outputs.clear();
    }

    /// Whether this row exists and has output.
    pub(crate) fn has_output(&self, row: usize) -> bool {
        self.outputs.get(row).is_some_and(|&output| output != 0)
    }

    /// The batch as llama.cpp takes it; valid until the columns change or are dropped.
    pub(crate) fn as_raw(&mut self) -> sys::llama_batch {
        self.sequence_pointers.clear();
        self.sequence_pointers
            .extend(self.sequences.iter_mut().map(std::ptr::from_mut));
        sys::llama_batch {
            // `fill` saw that the rows are fewer than a limit that came from an `i32`.
            n_tokens: self.tokens.len() as i32,
            token: self.tokens.as_mut_ptr(),
            embd: std::ptr::null_mut(),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.sequence_counts.as_mut_ptr(),
            seq_id: self.sequence_pointers.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
        }
    }
}

#[cfg(test)]
mod tests {
    use shimmy_engine::{Row, SequenceId};

    use super::{Bounds, Columns};
    use crate::error::InvalidBatch;

    const BOUNDS: Bounds = Bounds {
        rows: 3,
        outputs: 1,
        vocabulary: 10,
        sequences: 2,
        output_all: false,
    };

    fn row(token: u32, position: u32, sequence: u32, output: bool) -> Row {
        Row {
            token,
            position,
            sequence: SequenceId(sequence),
            output,
        }
    }

    #[test]
    fn every_bound_is_checked() {
        let mut columns = Columns::default();
        let mut fill = |rows: &[Row]| columns.fill(rows, &BOUNDS);
        assert_eq!(fill(&[]), Err(InvalidBatch::Empty));
        assert_eq!(
            fill(&[row(0, 0, 0, false); 4]),
            Err(InvalidBatch::TooManyRows { rows: 4, limit: 3 })
        );
        assert_eq!(
            fill(&[row(0, 0, 0, true), row(0, 1, 0, true)]),
            Err(InvalidBatch::TooManyOutputs {
                outputs: 2,
                limit: 1
            })
        );
        assert_eq!(
            fill(&[row(10, 0, 0, true)]),
            Err(InvalidBatch::UnknownToken {
                row: 0,
                token: 10,
                vocabulary: 10
            })
        );
        assert_eq!(
            fill(&[row(9, 0, 1, true), row(9, 0, 2, true)]),
            Err(InvalidBatch::UnknownSequence {
                row: 1,
                sequence: 2,
                sequences: 2
            })
        );
        assert_eq!(
            fill(&[row(9, u32::MAX, 1, true)]),
            Err(InvalidBatch::PositionTooFar {
                row: 0,
                position: u32::MAX
            })
        );
        assert_eq!(fill(&[row(9, 0, 1, true), row(9, 0, 0, false)]), Ok(()));
        assert!(columns.has_output(0) && !columns.has_output(1) && !columns.has_output(2));
    }
}

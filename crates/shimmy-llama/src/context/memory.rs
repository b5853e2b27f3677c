//! What a context's memory holds: sharing, cutting, and moving it elsewhere.

use llama_cpp_sys_2 as sys;

use super::Context;

impl Context {
    /// Makes `to`, which forgets what it held, share the first `length` tokens of `from`. Free of
    /// charge, since only the cells' owners change, but for layers with a window, whose cells are
    /// copied.
    ///
    /// False when the memory cannot be cut there; then `to` is empty. As a whole it always can be
    /// copied.
    pub fn copy(&mut self, from: u32, to: u32, length: u32) -> bool {
        if from == to {
            return self.remove(from, length);
        }
        let (Some(source), Some(target)) = (self.sequence(from), self.sequence(to)) else {
            return false;
        };
        self.remove(to, 0);
        let Some((first, last)) = self.positions(from) else {
            return length == 0;
        };
        // No end means all, the only end that some memories take.
        let end = match i32::try_from(length) {
            Ok(end) if length <= last => end,
            _ => -1,
        };
        if end >= 0 && (self.keeps_state || !self.window_reaches(first, length)) {
            return false;
        }
        // SAFETY: the memory, null or not, is the context's; both sequences are in range, the
        // target holds no cell, and a memory that asserts that all is copied gets no end.
        unsafe { sys::llama_memory_seq_cp(self.memory, source, target, 0, end) };
        if self.window.is_none() || self.keeps_state || self.own_window(target) {
            return true;
        }
        self.remove(to, 0);
        false
    }

    /// Gives a sequence cells of its own in the layers with a window.
    ///
    /// These layers have few cells and use those again that a sequence has left behind, but never
    /// shared ones: after a copy, what both have left behind would fill them for good.
    fn own_window(&mut self, id: i32) -> bool {
        // `LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY`, which the bindings leave out.
        const WINDOW: sys::llama_state_seq_flags = 1;
        let raw = self.raw.as_ptr();
        // SAFETY: the context is alive and the sequence in range; llama.cpp catches its own
        // exceptions and returns 0.
        let size = unsafe { sys::llama_state_seq_get_size_ext(raw, id, WINDOW) };
        let mut state = vec![0; size];
        // SAFETY: as above; at most `size` bytes are written, and then at most as many are read.
        let read = unsafe {
            sys::llama_state_seq_get_data_ext(raw, state.as_mut_ptr(), size, id, WINDOW);
            sys::llama_state_seq_set_data_ext(raw, state.as_ptr(), size, id, WINDOW)
        };
        size > 0 && read == size
    }

    /// Removes the tokens of a sequence from position `start` on; false when the memory cannot
    /// be cut there. From 0 on it always can.
    pub fn remove(&mut self, sequence: u32, start: u32) -> bool {
        let (Some(id), Ok(from)) = (self.sequence(sequence), i32::try_from(start)) else {
            // There is nothing to remove.
            return true;
        };
        if start > 0
            && let Some((first, last)) = self.positions(sequence)
        {
            if start > last {
                return true;
            }
            // llama.cpp would cut, and compute nonsense from there.
            if !self.window_reaches(first, start) {
                return false;
            }
        }
        // SAFETY: the memory, null or not, is the context's, and the sequence is in range.
        unsafe { sys::llama_memory_seq_rm(self.memory, id, from, -1) }
    }

    /// Everything that the memory holds, to be put into another context of the same model by
    /// [`restore`](Self::restore); `None` when llama.cpp cannot give it away.
    pub fn save(&mut self) -> Option<Vec<u8>> {
        // SAFETY: the context is alive; llama.cpp catches its own exceptions and returns 0.
        let size = unsafe { sys::llama_state_get_size(self.raw.as_ptr()) };
        let mut state = vec![0; size];
        // SAFETY: as above; at most `size` bytes are written, which the buffer has.
        let written =
            unsafe { sys::llama_state_get_data(self.raw.as_ptr(), state.as_mut_ptr(), size) };
        (size > 0 && written == size).then_some(state)
    }

    /// Replaces what the memory holds by what [`save`](Self::save) took from a context of the
    /// same model; false, with an empty memory, when it does not fit.
    pub fn restore(&mut self, state: &[u8]) -> bool {
        // SAFETY: the context is alive; at most the bytes of `state` are read, and llama.cpp
        // catches the exceptions of a state that does not fit and returns 0.
        let read =
            unsafe { sys::llama_state_set_data(self.raw.as_ptr(), state.as_ptr(), state.len()) };
        if read != state.len() {
            // SAFETY: the memory, null or not, is the context's.
            unsafe { sys::llama_memory_clear(self.memory, true) };
        }
        read == state.len()
    }

    /// The first and the last position that the memory holds of a sequence, and all between them;
    /// `None` when it is empty. A sliding window forgets the first ones.
    pub fn positions(&self, sequence: u32) -> Option<(u32, u32)> {
        let id = self.sequence(sequence)?;
        // SAFETY: the memory, null or not, is the context's, and the sequence is in range.
        let (first, last) = unsafe {
            (
                sys::llama_memory_seq_pos_min(self.memory, id),
                sys::llama_memory_seq_pos_max(self.memory, id),
            )
        };
        Some((u32::try_from(first).ok()?, u32::try_from(last).ok()?))
    }

    /// Whether the cache, which holds a sequence from `first` on, still has all that the token at
    /// `length` sees.
    fn window_reaches(&self, first: u32, length: u32) -> bool {
        self.window
            .is_none_or(|window| first <= length.saturating_sub(window))
    }

    /// What the memory holds of one sequence, to be put into a context of the same model and
    /// settings by [`restore_sequence`](Self::restore_sequence); `None` when llama.cpp cannot give
    /// it away.
    pub fn save_sequence(&mut self, sequence: u32) -> Option<Vec<u8>> {
        let id = self.sequence(sequence)?;
        // SAFETY: the context is alive and the sequence in range; llama.cpp catches its own
        // exceptions and returns 0.
        let size = unsafe { sys::llama_state_seq_get_size(self.raw.as_ptr(), id) };
        let mut state = vec![0; size];
        // SAFETY: as above; at most `size` bytes are written, which the buffer has.
        let written = unsafe {
            sys::llama_state_seq_get_data(self.raw.as_ptr(), state.as_mut_ptr(), size, id)
        };
        (size > 0 && written == size).then_some(state)
    }

    /// Makes a sequence hold what [`save_sequence`](Self::save_sequence) gave; false, with an empty
    /// sequence, when it does not fit.
    pub fn restore_sequence(&mut self, sequence: u32, state: &[u8]) -> bool {
        let Some(id) = self.sequence(sequence) else {
            return false;
        };
        // SAFETY: the context is alive and the sequence in range; at most the bytes of `state` are
        // read, and llama.cpp catches the exceptions of a state that does not fit and returns 0.
        let read = unsafe {
            sys::llama_state_seq_set_data(self.raw.as_ptr(), state.as_ptr(), state.len(), id)
        };
        if read != state.len() {
            self.remove(sequence, 0);
        }
        read == state.len()
    }
}

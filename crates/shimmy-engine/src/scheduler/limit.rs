//! With how many cells steps are planned: as many as the runner promised, or, after it had no room for
//! a step, fewer for a while. Pure.

/// Steps that must go well before more cells are tried, after the first refusal. It doubles with each.
const FIRST_PATIENCE: u32 = 64;
/// At most: a minute of steps or more, so that a runner that will never have the room again costs next
/// to nothing.
const MOST_PATIENCE: u32 = 4096;

/// How many cells there are, as far as is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct CellLimit {
    promised: usize,
    now: usize,
    /// Steps that must go well before more cells are tried; none before the first refusal.
    patience: u32,
    /// Steps that went well since the limit changed.
    went_well: u32,
    /// Whether somebody's need was tried since a step went well.
    was_tried: bool,
}

impl CellLimit {
    pub(super) fn new(promised: usize) -> Self {
        Self {
            promised,
            now: promised,
            patience: 0,
            went_well: 0,
            was_tried: false,
        }
    }

    pub(super) fn now(&self) -> usize {
        self.now
    }

    /// A step was refused for want of room; there may be room for so many cells.
    pub(super) fn refused(&mut self, room: usize) {
        // One step may be refused many times, until it is small enough: that is one refusal.
        if self.went_well > 0 || (self.now == self.promised && !self.was_tried) {
            self.patience = (self.patience * 2).clamp(FIRST_PATIENCE, MOST_PATIENCE);
        }
        self.now = self.now.min(room);
        self.went_well = 0;
    }

    /// Somebody cannot go on without more cells. True if that is worth a try, for which there are then as
    /// many as were promised: once after each refusal, unless that was of the try itself.
    pub(super) fn is_worth_a_try(&mut self) -> bool {
        let is_worth = self.now < self.promised && !self.was_tried;
        if is_worth {
            self.now = self.promised;
            self.went_well = 0;
            self.was_tried = true;
        }
        is_worth
    }

    /// A step went well. Once many have, half of the cells that are held back are tried.
    pub(super) fn went_well(&mut self) {
        self.was_tried = false;
        if self.now == self.promised {
            return;
        }
        self.went_well += 1;
        if self.went_well >= self.patience {
            self.went_well = 0;
            self.now += (self.promised - self.now).div_ceil(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps that go well until the limit has come back.
    fn steps_back(limit: &mut CellLimit) -> usize {
        let promised = limit.promised;
        let steps = (1..1_000_000).find(|_| {
            let before = limit.now();
            limit.went_well();
            assert!(limit.now() >= before && limit.now() <= promised);
            limit.now() == promised
        });
        steps.expect("it never came back")
    }

    #[test]
    fn the_limit_comes_back_and_later_each_time() {
        let mut limit = CellLimit::new(1000);
        let mut last = 0;
        for _ in 0..6 {
            // A step that is made smaller until there is room for it.
            (100..120).rev().for_each(|room| limit.refused(room));
            assert_eq!(limit.now(), 100);
            let steps = steps_back(&mut limit);
            assert!(steps > last, "{steps} after {last}");
            last = steps;
        }
        // However often it was refused, it comes back.
        (0..100).for_each(|_| {
            limit.refused(100);
            limit.went_well();
        });
        assert!(steps_back(&mut limit) <= 11 * MOST_PATIENCE as usize);
    }

    #[test]
    fn need_is_a_reason_to_try_once_until_a_step_went_well() {
        let mut limit = CellLimit::new(1000);
        assert!(!limit.is_worth_a_try());
        for _ in 0..3 {
            limit.refused(100);
            assert!(limit.is_worth_a_try());
            assert_eq!(limit.now(), 1000);
            limit.refused(100);
            assert!(!limit.is_worth_a_try());
            limit.went_well();
        }
    }

    #[test]
    fn a_refusal_never_gives_more() {
        let mut limit = CellLimit::new(50);
        limit.refused(80);
        assert_eq!(limit.now(), 50);
        limit.refused(0);
        limit.refused(30);
        assert_eq!(limit.now(), 0);
    }
}

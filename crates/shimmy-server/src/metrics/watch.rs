//! One request's answers under observation: when their tokens come, how they end.
//!
//! Answers are read when their readers take them, and a reader that has fallen behind finds
//! several events at once. They came in the time since it last waited, so that time is shared out
//! among them: the mean is right, and a slow reader does not look like a fast engine.

use std::sync::Arc;
use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use shimmy_engine::{Finish, FinishReason, GenerateError};

use super::ModelMetrics;

/// Counts one request's answers. Those that are unfinished when it is dropped were abandoned.
#[derive(Debug)]
pub(crate) struct Watch {
    model: Arc<ModelMetrics>,
    received: Instant,
    /// Whether the first token, of whichever choice, has come.
    begun: bool,
    choices: Vec<Choice>,
}

#[derive(Debug, Default)]
struct Choice {
    ended: bool,
    /// Tokens already counted.
    tokens: u32,
    pace: Option<Pace>,
}

/// The tokens of the newest stretch of time that has any.
#[derive(Debug)]
struct Pace {
    from: Instant,
    until: Instant,
    tokens: u32,
}

impl Watch {
    /// Of the answers to a request that came at `received`.
    pub(crate) fn new(model: Arc<ModelMetrics>, received: Instant, choices: usize) -> Self {
        Self {
            model,
            received,
            begun: false,
            choices: (0..choices).map(|_| Choice::default()).collect(),
        }
    }

    /// `tokens` more of a choice have come; `waited` says whether they were waited for or were
    /// already there.
    pub(crate) fn text(&mut self, choice: usize, tokens: u32, waited: bool) {
        self.model.completion_tokens.inc_by(tokens.into());
        let choice = &mut self.choices[choice];
        choice.tokens += tokens;
        match &mut choice.pace {
            Some(pace) if waited => {
                pace.observe(&self.model);
                let now = Instant::now();
                *pace = Pace {
                    from: pace.until,
                    until: now,
                    tokens,
                };
            }
            Some(pace) => pace.tokens += tokens,
            None => {
                let now = Instant::now();
                // The first token ends the time to it and begins the time to the next.
                choice.pace = Some(Pace {
                    from: now,
                    until: now,
                    tokens: 0,
                });
                self.begin(now);
            }
        }
    }

    /// A choice is complete.
    pub(crate) fn finished(&mut self, choice: usize, finish: &Finish) {
        let Finish { usage, timings, .. } = finish;
        if usage.completion_tokens > 0 {
            self.begin(Instant::now());
        }
        let model = &self.model;
        let choice = &mut self.choices[choice];
        if let Some(pace) = &choice.pace {
            pace.observe(model);
        }
        choice.ended = true;
        // The end token and what a stop text held back were never text.
        let rest = usage.completion_tokens.saturating_sub(choice.tokens);
        model.completion_tokens.inc_by(rest.into());
        model.prompt_tokens.inc_by(usage.prompt_tokens.into());
        model.reused_tokens.inc_by(usage.cached_tokens.into());
        model.queue_time.observe(timings.queue.as_secs_f64());
        let outcome = match finish.reason {
            FinishReason::Stop => &model.stopped,
            FinishReason::Length => &model.cut,
            FinishReason::Cancelled => &model.cancelled,
        };
        outcome.inc();
    }

    /// No choice will be completed any more; `error` is the engine's word on it, if it had one.
    pub(crate) fn failed(&mut self, error: Option<&GenerateError>) {
        if let Some(&GenerateError::QueueTimeout { seconds }) = error {
            self.model.queue_time.observe(seconds as f64);
        }
        self.end(|model| &model.failed);
    }

    fn begin(&mut self, now: Instant) {
        if !self.begun {
            self.begun = true;
            let waited = now - self.received;
            self.model.first_token.observe(waited.as_secs_f64());
        }
    }

    fn end(&mut self, outcome: fn(&ModelMetrics) -> &Counter) {
        for choice in &mut self.choices {
            if !choice.ended {
                choice.ended = true;
                outcome(&self.model).inc();
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end(|model| &model.abandoned);
    }
}

impl Pace {
    /// The time between tokens, once for each token that ended one.
    fn observe(&self, model: &ModelMetrics) {
        // What was there before the first token was taken has no time of its own.
        if self.until == self.from {
            return;
        }
        let each = (self.until - self.from).as_secs_f64() / f64::from(self.tokens);
        for _ in 0..self.tokens {
            model.inter_token.observe(each);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;
    use shimmy_engine::{Timings, Usage};

    use super::super::Families;
    use super::*;

    /// A watch over one request's choices, and what it has counted so far.
    struct Counted {
        registry: Registry,
        watch: Option<Watch>,
    }

    impl Counted {
        fn new(choices: usize) -> Self {
            let mut registry = Registry::default();
            let families = Families::new();
            families.register(&mut registry);
            let watch = Watch::new(Arc::new(families.of("m")), Instant::now(), choices);
            Self {
                registry,
                watch: Some(watch),
            }
        }

        fn watch(&mut self) -> &mut Watch {
            self.watch.as_mut().unwrap()
        }

        /// Lets the clock move on, so that a stretch of time has a length.
        fn later(&mut self) -> &mut Watch {
            let now = Instant::now();
            while Instant::now() == now {}
            self.watch()
        }

        fn value(&self, series: &str) -> f64 {
            let mut all = String::new();
            text::encode(&mut all, &self.registry).unwrap();
            let line = all.lines().find_map(|line| line.strip_prefix(series));
            line.unwrap_or_else(|| panic!("no {series} in {all}"))
                .trim()
                .parse()
                .unwrap()
        }

        fn gaps(&self) -> (f64, f64) {
            let series = |part| format!("inter_token_latency_seconds_{part}{{model=\"m\"}}");
            (self.value(&series("count")), self.value(&series("sum")))
        }

        fn outcome(&self, outcome: &str) -> f64 {
            self.value(&format!(
                "answers_total{{model=\"m\",outcome=\"{outcome}\"}}"
            ))
        }
    }

    fn finish(completion_tokens: u32) -> Finish {
        Finish {
            reason: FinishReason::Stop,
            stop: None,
            usage: Usage {
                prompt_tokens: 10,
                cached_tokens: 4,
                completion_tokens,
            },
            timings: Timings::default(),
        }
    }

    #[test]
    fn tokens_that_a_slow_reader_finds_share_the_time_they_came_in() {
        let mut counted = Counted::new(1);
        // The first, and two that were there with it: they end no stretch of time.
        counted.watch().text(0, 1, true);
        counted.watch().text(0, 2, false);
        // Five tokens came in the first stretch, one in the second.
        counted.later().text(0, 1, true);
        counted.watch().text(0, 4, false);
        counted.later().text(0, 1, true);
        assert_eq!(counted.gaps().0, 5.0);
        let pace = counted.watch().choices[0].pace.as_ref().unwrap();
        let second = (pace.until - pace.from).as_secs_f64();
        let first = counted.gaps().1;
        counted.watch().finished(0, &finish(9));
        let (count, sum) = counted.gaps();
        assert_eq!(count, 6.0);
        assert!(
            (sum - first - second).abs() < 1e-12,
            "{sum} {first} {second}"
        );
        assert_eq!(counted.value("completion_tokens_total{model=\"m\"}"), 9.0);
    }

    #[test]
    fn each_choice_has_a_pace_and_an_end_of_its_own_and_one_first_token() {
        let mut counted = Counted::new(3);
        counted.watch().text(0, 1, true);
        counted.later().text(1, 1, true);
        counted.later().text(0, 1, true);
        counted.watch().finished(0, &finish(3));
        counted.watch().finished(1, &finish(2));
        assert_eq!(counted.gaps().0, 1.0);
        let first = "time_to_first_token_seconds_count{model=\"m\"}";
        assert_eq!(counted.value(first), 1.0);
        counted.watch = None;
        assert_eq!(counted.outcome("stop"), 2.0);
        assert_eq!(counted.outcome("abandoned"), 1.0);
        assert_eq!(counted.value("prompt_tokens_total{model=\"m\"}"), 20.0);
        assert_eq!(
            counted.value("prompt_tokens_reused_total{model=\"m\"}"),
            8.0
        );
    }

    #[test]
    fn what_failed_was_not_abandoned_and_a_wait_in_vain_is_a_wait() {
        let mut counted = Counted::new(2);
        let error = GenerateError::QueueTimeout { seconds: 300 };
        counted.watch().failed(Some(&error));
        counted.watch().failed(None);
        counted.watch = None;
        assert_eq!(counted.outcome("failed"), 2.0);
        assert_eq!(counted.outcome("abandoned"), 0.0);
        assert_eq!(counted.value("queue_time_seconds_sum{model=\"m\"}"), 300.0);
    }
}

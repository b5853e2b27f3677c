//! What every answer and every chunk of the dialect is wrapped in: id, time, model, usage.
//!
//! Chats and completions differ in their choices, which are not known here.

use std::marker::PhantomData;

use jiff::Timestamp;
use serde::Serialize;
use utoipa::openapi::schema::{AnyOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::error::ErrorBody;
use super::usage::{Endings, FINGERPRINT, UsageBody};
use crate::answer::Ending;
use crate::report;
use crate::sse::{DONE, json_event};

/// A complete answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OpenAiCompletion)]
pub(super) struct Completion<C> {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    system_fingerprint: &'static str,
    choices: Vec<C>,
    usage: UsageBody,
}

impl<C> Completion<C> {
    /// The answer of `model`, complete now; `prefix` begins its id.
    pub(super) fn new(
        (prefix, object): (&str, &'static str),
        model: String,
        choices: Vec<C>,
        endings: &Endings,
    ) -> Self {
        Self {
            id: report::unique_id(prefix),
            object,
            created: Timestamp::now().as_second(),
            model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: endings.usage(),
        }
    }
}

/// What the chunks of one stream share.
#[derive(Debug)]
pub(super) struct Envelope {
    id: String,
    object: &'static str,
    created: i64,
    model: String,
    include_usage: bool,
    endings: Endings,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OpenAiChunk)]
struct Chunk<'a, C> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    system_fingerprint: &'static str,
    #[schema(value_type = Vec<C>)]
    choices: &'a [C],
    /// Absent unless asked for; then `null` on every chunk but the one that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<UsageBody>)]
    usage: Option<Option<UsageBody>>,
}

/// What a stream of choices `C` is made of: chunks, and where it fails the error. Described by
/// itself, because a description of a generic type has one name for all that it may hold.
pub(super) struct Streamed<C>(PhantomData<C>);

impl<C: ToSchema> PartialSchema for Streamed<C> {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Chunk::<'_, C>::schema())
            .item(Ref::from_schema_name(ErrorBody::name()))
            .into()
    }
}

impl<C: ToSchema> ToSchema for Streamed<C> {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((C::name().into(), C::schema()));
        C::schemas(schemas);
        Chunk::<'_, C>::schemas(schemas);
    }
}

impl Envelope {
    /// Of a stream that begins now; `prefix` begins its id.
    pub(super) fn new(
        (prefix, object): (&str, &'static str),
        model: String,
        include_usage: bool,
        endings: Endings,
    ) -> Self {
        Self {
            id: report::unique_id(prefix),
            object,
            created: Timestamp::now().as_second(),
            model,
            include_usage,
            endings,
        }
    }

    /// One chunk of one choice.
    pub(super) fn chunk<C: Serialize>(&self, choice: C, out: &mut Vec<u8>) {
        self.write(&[choice], None, out);
    }

    /// Takes note of a choice's last word.
    pub(super) fn end(&mut self, choice: usize, ending: Ending) {
        self.endings.push(choice, ending);
    }

    /// The end of the stream: the usage, where it was asked for, and `[DONE]`.
    pub(super) fn close(&self, out: &mut Vec<u8>) {
        if self.include_usage {
            self.write::<()>(&[], Some(self.endings.usage()), out);
        }
        out.extend_from_slice(DONE);
    }

    fn write<C: Serialize>(&self, choices: &[C], usage: Option<UsageBody>, out: &mut Vec<u8>) {
        let chunk = Chunk {
            id: &self.id,
            object: self.object,
            created: self.created,
            model: &self.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: self.include_usage.then_some(usage),
        };
        json_event(&chunk, out);
    }
}

//! Spans of writes, for OpenTelemetry: which writes have one, what is in it, how it gets to a collector.
//!
//! Takes the head of a request and what its stages say, gives spans in batches to a collector over HTTP. Nothing waits for
//! it: a finished span is put into a queue that is bounded in number and in bytes, and what finds no room there, or no
//! collector, is counted and gone. Never holds a label of a series, a credential or a sample.
//!
//! Its files, each of which uses only those before it: `context` (what a sender says a write is part of), `otlp` (the
//! messages), `queue` (of spans that have ended), `tracer` (which writes have one), `recording` (a span while its write goes
//! on), `collector` (one exchange with it), `export` (all of them).

mod collector;
mod context;
mod export;
mod otlp;
mod queue;
mod recording;
mod tracer;

pub use collector::{Collector, TraceSetupError};
pub use context::{SenderContext, TRACE_PARENT, TRACE_STATE, TraceParent};
pub use export::export;
pub use otlp::{Attribute, number, text, texts};
pub use recording::{Reached, Recording, SampleSums, SpanEnd, WriteSize};
pub use tracer::Tracer;

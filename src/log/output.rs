//! One output as a layer of the subscriber: events become records in its queue.
//!
//! A record is put together in a buffer of its thread and copied into the queue as a whole. What a span is created with
//! is written once, when it is created, and kept with the span for each output, because their formats differ.

use std::cell::RefCell;
use std::sync::Arc;

use smallvec::SmallVec;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer;
use tracing_subscriber::registry::LookupSpan;

use super::batch::index;
use super::format::{Context, RecordedFields};
use super::queue::Queue;

/// More memory than this is not kept for one thread's records.
const USUAL: usize = 64 << 10;

/// As many as there usually are around one event, without an allocation.
type Few<T> = SmallVec<[T; 4]>;

thread_local! {
    /// Where records of this thread are put together.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The layer; the number tells the outputs of one process apart.
pub(super) struct Output<T, const NUMBER: usize> {
    /// How records are written.
    context: Arc<Context>,
    /// Where they go.
    queue: Arc<Queue<T>>,
}

/// The fields of a span as one output writes them.
struct KeptBy<const NUMBER: usize>(RecordedFields);

impl<T, const NUMBER: usize> Output<T, NUMBER> {
    /// An output with this format and queue.
    pub(super) const fn new(context: Arc<Context>, queue: Arc<Queue<T>>) -> Self {
        Self { context, queue }
    }

    /// Writes an event with what is around it.
    fn write<S>(&self, line: &mut Vec<u8>, event: &Event<'_>, context: &layer::Context<'_, S>)
    where
        S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    {
        line.clear();
        let Some(scope) = context.event_scope(event) else {
            return self.context.event(line, event, &[]);
        };
        let spans: Few<_> = scope.collect();
        let extensions: Few<_> = spans.iter().map(|span| (span.name(), span.extensions())).collect();
        let around: Few<_> = extensions
            .iter()
            .map(|(name, extensions)| (*name, extensions.get::<KeptBy<NUMBER>>().map(|kept| &kept.0)))
            .collect();
        self.context.event(line, event, &around);
    }
}

impl<S, T, const NUMBER: usize> Layer<S> for Output<T, NUMBER>
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    T: Send + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: layer::Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut kept = RecordedFields::default();
        kept.add(self.context.style(), |visit| attributes.record(visit));
        span.extensions_mut().replace(KeptBy::<NUMBER>(kept));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: layer::Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(kept) = span.extensions_mut().get_mut::<KeptBy<NUMBER>>() {
            kept.0.add(self.context.style(), |visit| values.record(visit));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: layer::Context<'_, S>) {
        let level = index(*event.metadata().level());
        let usual = LINE.try_with(|line| {
            let mut line = line.try_borrow_mut().ok()?;
            self.write(&mut line, event, &context);
            self.queue.push(&line, level);
            if line.capacity() > USUAL {
                *line = Vec::new();
            }
            Some(())
        });
        // The thread ends, or a value logs while it is written.
        if !matches!(usual, Ok(Some(()))) {
            let mut line = Vec::new();
            self.write(&mut line, event, &context);
            self.queue.push(&line, level);
        }
    }
}

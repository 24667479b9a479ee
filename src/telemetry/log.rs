//! The one way to stdout. Who logs never waits: lines go through a bounded queue to a thread that writes, and what
//! finds the queue full is dropped and counted.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::{Format, Full, Json, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Registry, reload};

use crate::config::{Log, LogFormat, LogLevel};

/// Lines that may wait for stdout.
const QUEUE_LINES_MAX: usize = 8192;
/// What those may take, in bytes: as many lines as may wait, of the length that most have, several times over.
const QUEUE_BYTES_MAX: usize = 16 << 20;
/// How long the end of the process waits for stdout.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);
/// Between two looks at a full queue.
const FLUSH_PAUSE: Duration = Duration::from_millis(1);

/// Takes lines. Cheap to clone.
#[derive(Clone)]
pub struct Sink {
    queue: SyncSender<Order>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    dropped: AtomicU64,
    /// Bytes that wait.
    queued_bytes: AtomicUsize,
    json: AtomicBool,
    access: AtomicBool,
}

enum Order {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Sink {
    /// A sink that writes to `output` on a thread of its own.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(output: impl Write + Send + 'static) -> io::Result<Sink> {
        let (queue, orders) = sync_channel(QUEUE_LINES_MAX);
        let shared = Arc::new(Shared::default());
        let counters = shared.clone();
        thread::Builder::new().name("log".into()).spawn(move || write_lines(output, &orders, &counters))?;
        Ok(Sink { queue, shared })
    }

    /// Queues one line, which ends in a line feed.
    pub fn line(&self, line: Vec<u8>) {
        let (bytes, shared) = (line.capacity(), &self.shared);
        let queued_bytes = shared.queued_bytes.fetch_add(bytes, Relaxed).saturating_add(bytes);
        if queued_bytes > QUEUE_BYTES_MAX || self.queue.try_send(Order::Line(line)).is_err() {
            shared.queued_bytes.fetch_sub(bytes, Relaxed);
            shared.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Lines lost so far.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Whether lines are JSON objects.
    pub fn is_json(&self) -> bool {
        self.shared.json.load(Relaxed)
    }

    /// Whether access records are wanted.
    pub fn wants_access(&self) -> bool {
        self.shared.access.load(Relaxed)
    }

    /// Waits until what is queued has been written, for a second at most: a reader that stopped must not keep the
    /// process from ending.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH_DEADLINE;
        let (done, wait) = sync_channel(1);
        let mut order = Order::Flush(done);
        // A full queue is the best reason to wait for the writer.
        while let Err(TrySendError::Full(unsent)) = self.queue.try_send(order) {
            if Instant::now() >= deadline {
                return;
            }
            thread::sleep(FLUSH_PAUSE);
            order = unsent;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let _: Result<(), RecvTimeoutError> = wait.recv_timeout(left);
    }
}

fn write_lines(output: impl Write, orders: &Receiver<Order>, shared: &Shared) {
    let mut output = io::BufWriter::with_capacity(64 * 1024, output);
    while let Ok(first) = orders.recv() {
        // One flush for all that is queued: under load lines leave in large writes, alone at once.
        let mut next = Some(first);
        while let Some(order) = next {
            match order {
                Order::Line(line) => {
                    if output.write_all(&line).is_err() {
                        shared.dropped.fetch_add(1, Relaxed);
                    }
                    shared.queued_bytes.fetch_sub(line.capacity(), Relaxed);
                }
                Order::Flush(done) => {
                    let _ = output.flush();
                    let _ = done.try_send(());
                }
            }
            next = orders.try_recv().ok();
        }
        let _ = output.flush();
    }
}

/// Changes what is logged and how, while it is logged.
pub struct Control {
    sink: Sink,
    level: reload::Handle<LevelFilter, Registry>,
}

/// Sends `tracing`'s events to the sink. Only the first call of a process has an effect on them.
pub fn install(sink: &Sink, settings: &Log) -> Control {
    let (filter, level) = reload::Layer::new(level_filter(settings.level));
    let lines = fmt::layer().event_format(Shape::new(sink.clone())).with_writer(Lines(sink.clone()));
    let subscriber = tracing_subscriber::registry().with(filter).with(lines.with_ansi(false));
    let _ = tracing::subscriber::set_global_default(subscriber);
    let control = Control { sink: sink.clone(), level };
    control.apply(settings);
    control
}

impl Control {
    /// Puts `settings` into force.
    pub fn apply(&self, settings: &Log) {
        let shared = &self.sink.shared;
        shared.json.store(settings.format == LogFormat::Json, Relaxed);
        shared.access.store(settings.access, Relaxed);
        // It fails only when the subscriber is gone.
        let _ = self.level.modify(|filter| *filter = level_filter(settings.level));
    }
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// A line in the shape that is in force.
struct Shape {
    sink: Sink,
    text: Format<Full, Milliseconds>,
    json: Format<Json, Milliseconds>,
}

impl Shape {
    fn new(sink: Sink) -> Shape {
        let format = || fmt::format().with_timer(Milliseconds).with_target(false).with_ansi(false);
        let json = format().json().flatten_event(true).with_current_span(false).with_span_list(false);
        Shape { sink, text: format(), json }
    }
}

impl<S, N> FormatEvent<S, N> for Shape
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        if self.sink.is_json() {
            self.json.format_event(context, writer, event)
        } else {
            self.text.format_event(context, writer, event)
        }
    }
}

/// The timestamp of every line: RFC 3339, UTC, to the millisecond.
pub fn timestamp(now: SystemTime) -> impl std::fmt::Display {
    humantime::format_rfc3339_millis(now)
}

struct Milliseconds;

impl FormatTime for Milliseconds {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{}", timestamp(SystemTime::now()))
    }
}

struct Lines(Sink);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { sink: self.0.clone(), bytes: Mutex::default() }
    }
}

/// One event: gathered while it is formatted, queued when it is dropped.
struct Line {
    sink: Sink,
    bytes: Mutex<Vec<u8>>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
        line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let line = std::mem::take(self.bytes.get_mut().unwrap_or_else(PoisonError::into_inner));
        self.sink.line(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes nothing until the channel says so.
    struct Stuck(Receiver<()>, SyncSender<Vec<u8>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_reader_costs_lines_not_time() {
        let (release, stuck) = sync_channel(1);
        let (written, seen) = sync_channel(1024);
        let sink = Sink::start(Stuck(stuck, written)).unwrap();
        let lines = QUEUE_LINES_MAX * 3;
        for number in 0..lines {
            sink.line(format!("{number:0100}\n").into_bytes());
        }
        let dropped = sink.dropped() as usize;
        assert!(dropped >= lines - QUEUE_LINES_MAX * 2, "{dropped} dropped");
        drop(release);
        sink.flush();
        let bytes: usize = seen.try_iter().map(|bytes: Vec<u8>| bytes.len()).sum();
        assert_eq!(bytes, (lines - dropped) * 101);
    }

    /// Of long lines fewer may wait; when those are gone, as many as before.
    #[test]
    fn the_queue_is_bounded_in_bytes_too() {
        const LINE_BYTES: usize = 32 << 10;
        const LINES_MAX: usize = QUEUE_BYTES_MAX / LINE_BYTES;
        let (release, stuck) = sync_channel(1);
        let (written, seen) = sync_channel(4 * LINES_MAX);
        let sink = Sink::start(Stuck(stuck, written)).unwrap();
        for _ in 0..2 * LINES_MAX {
            sink.line(vec![b'a'; LINE_BYTES]);
        }
        // But for those that the writer itself holds.
        let dropped = sink.dropped() as usize;
        assert!((LINES_MAX - 3..=LINES_MAX).contains(&dropped), "{dropped}");
        drop(release);
        sink.flush();
        for _ in 0..LINES_MAX {
            sink.line(vec![b'a'; LINE_BYTES]);
        }
        sink.flush();
        assert_eq!(sink.dropped() as usize, dropped);
        let bytes: usize = seen.try_iter().map(|bytes: Vec<u8>| bytes.len()).sum();
        assert_eq!(bytes, (3 * LINES_MAX - dropped) * LINE_BYTES);
    }
}

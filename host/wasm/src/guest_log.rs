//! What a guest says: rate-limited, cut, and without control characters.
//! Lines of its standard output and error wait here until the store can hand
//! them to the task's host.

use crate::host::LogLevel;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Bytes of one line.
const LINE_MAX: usize = 8 << 10;
/// Lines that wait for the end of a call.
const LINES_MAX: usize = 1000;
/// Lines of standard error that are kept for a failure, and bytes of each.
const LAST_WORDS: usize = 8;
const LAST_WORDS_BYTES: usize = 400;
/// Bytes of a target's name.
const TARGET_MAX: usize = 128;

/// A line on its way to the host.
pub(crate) struct Line {
    pub level: LogLevel,
    pub target: String,
    pub message: String,
}

struct Inner {
    lines: VecDeque<Line>,
    lines_per_second: u32,
    window: Option<Instant>,
    used: u32,
    dropped: u64,
    /// Lines of standard output and of standard error that have not ended.
    partial: [Vec<u8>; 2],
    /// The latest lines of standard error, for the failure's details.
    last_words: VecDeque<String>,
}

/// The log of one instance, shared with its output streams.
pub(crate) struct GuestLog {
    waiting: AtomicBool,
    inner: Mutex<Inner>,
}

/// Which of the two streams of a process.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Stdout = 0,
    Stderr = 1,
}

impl GuestLog {
    pub(crate) fn new(lines_per_second: u32) -> Self {
        Self {
            waiting: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                lines: VecDeque::new(),
                lines_per_second,
                window: None,
                used: 0,
                dropped: 0,
                partial: [Vec::new(), Vec::new()],
                last_words: VecDeque::new(),
            }),
        }
    }

    /// A line of the contract's `log.write`.
    pub(crate) fn write(&self, level: LogLevel, target: &str, message: &str) {
        let mut inner = self.lock();
        inner.push(level, target, message);
        self.waiting.store(!inner.lines.is_empty(), Ordering::Relaxed);
    }

    /// Bytes of a stream; lines end at line feeds or when they are too long.
    pub(crate) fn write_stream(&self, stream: Stream, mut bytes: &[u8]) {
        let mut inner = self.lock();
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            inner.extend_partial(stream, &bytes[..at]);
            inner.end_partial(stream);
            bytes = &bytes[at + 1..];
        }
        inner.extend_partial(stream, bytes);
        self.waiting.store(!inner.lines.is_empty(), Ordering::Relaxed);
    }

    /// The end of standard error, as many lines.
    pub(crate) fn last_words(&self) -> Option<String> {
        let words = std::mem::take(&mut self.lock().last_words);
        if words.is_empty() { None } else { Some(Vec::from(words).join("\n")) }
    }

    /// Nothing more is said: ends lines that the guest left open, and tells of
    /// those that were dropped.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        for stream in [Stream::Stdout, Stream::Stderr] {
            if !inner.partial[stream as usize].is_empty() {
                inner.end_partial(stream);
            }
        }
        inner.tell_dropped();
        self.waiting.store(!inner.lines.is_empty(), Ordering::Relaxed);
    }

    /// Whether `take` would give something; cheap.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The waiting lines, and how many were dropped since the last time.
    pub(crate) fn take(&self) -> VecDeque<Line> {
        let mut inner = self.lock();
        self.waiting.store(false, Ordering::Relaxed);
        std::mem::take(&mut inner.lines)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn push(&mut self, level: LogLevel, target: &str, message: &str) {
        let now = Instant::now();
        if self.window.is_none_or(|start| now.duration_since(start) >= Duration::from_secs(1)) {
            self.window = Some(now);
            self.used = 0;
            self.tell_dropped();
        }
        if self.used >= self.lines_per_second || self.lines.len() >= LINES_MAX {
            self.dropped += 1;
            return;
        }
        self.used += 1;
        self.lines.push_back(Line {
            level,
            target: clean(&cut(target, TARGET_MAX)),
            message: clean(&cut(message, LINE_MAX)),
        });
    }

    fn tell_dropped(&mut self) {
        if self.dropped > 0 {
            let message = format!(
                "{} lines of the guest's log were dropped: more than {} a second (taskmanager.wasm.log-rate)",
                self.dropped, self.lines_per_second
            );
            self.dropped = 0;
            self.lines.push_back(Line { level: LogLevel::Warn, target: "heddle".to_owned(), message });
        }
    }

    fn extend_partial(&mut self, stream: Stream, bytes: &[u8]) {
        let partial = &mut self.partial[stream as usize];
        // One byte beyond the limit, so that the cut shows.
        let room = (LINE_MAX + 1).saturating_sub(partial.len());
        partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_partial(&mut self, stream: Stream) {
        let bytes = std::mem::take(&mut self.partial[stream as usize]);
        let (level, target) = match stream {
            Stream::Stdout => (LogLevel::Info, "stdout"),
            Stream::Stderr => (LogLevel::Warn, "stderr"),
        };
        let text = String::from_utf8_lossy(&bytes);
        if matches!(stream, Stream::Stderr) && !text.trim().is_empty() {
            if self.last_words.len() == LAST_WORDS {
                self.last_words.pop_front();
            }
            self.last_words.push_back(clean(&cut(&text, LAST_WORDS_BYTES)));
        }
        self.push(level, target, text.trim_end_matches('\r'));
    }
}

/// Puts a guest's line into the log of this process, with target `guest`.
pub fn log_guest_line(task: &str, level: LogLevel, origin: &str, message: &str) {
    match level {
        LogLevel::Trace => tracing::trace!(target: "guest", task, origin, "{message}"),
        LogLevel::Debug => tracing::debug!(target: "guest", task, origin, "{message}"),
        LogLevel::Info => tracing::info!(target: "guest", task, origin, "{message}"),
        LogLevel::Warn => tracing::warn!(target: "guest", task, origin, "{message}"),
        LogLevel::Error => tracing::error!(target: "guest", task, origin, "{message}"),
    }
}

/// At most `max` bytes of a text, and a mark if there was more.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

/// Without characters that move a terminal's cursor or start a line.
pub(crate) fn clean(text: &str) -> String {
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return text.to_owned();
    }
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => clean.push(c),
            c if c.is_control() => clean.extend(c.escape_default()),
            c => clean.push(c),
        }
    }
    clean
}

//! Runs a side's process: its output line by line with the time of each, a
//! deadline, its resident memory. Knows no side.

use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How often the CPU time of a running process is read.
const SAMPLE: Duration = Duration::from_millis(50);
/// How much of standard error an error message repeats.
const STDERR_LINES: usize = 12;

/// A process that is killed when it is dropped.
pub struct Process {
    child: Child,
    name: String,
    started: Instant,
    lines: Receiver<(Duration, String)>,
    stderr: Option<thread::JoinHandle<String>>,
}

/// What a process that ended has left.
pub struct Finished {
    /// Lines of standard output, with the time since the start.
    pub lines: Vec<(Duration, String)>,
    pub took: Duration,
    /// CPU time of all its threads, to some 50 ms.
    pub cpu: Duration,
}

impl Process {
    /// Starts it; the time runs from before the start.
    pub fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().context("its output")?;
        let mut stderr = child.stderr.take().context("its errors")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send((started.elapsed(), line)).is_err() {
                    break;
                }
            }
        });
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            // A process that is killed leaves what it wrote so far.
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self { child, name, started, lines, stderr: Some(stderr) })
    }

    /// The next line of its output and when it came.
    pub fn line(&mut self, deadline: Duration) -> Result<(Duration, String)> {
        match self.lines.recv_timeout(deadline.saturating_sub(self.started.elapsed())) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                self.kill();
                self.fails(&format!("wrote nothing for {deadline:?}"))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                self.fails(&format!("ended ({status}) before it wrote a line"))
            }
        }
    }

    /// Waits until it ended well.
    pub fn finish(mut self, deadline: Duration) -> Result<Finished> {
        let mut lines = Vec::new();
        let mut cpu = Duration::ZERO;
        let status = loop {
            match self.lines.recv_timeout(SAMPLE) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break self.wait(deadline)?,
                Err(RecvTimeoutError::Timeout) if self.started.elapsed() > deadline => break None,
                Err(RecvTimeoutError::Timeout) => cpu = self.cpu().unwrap_or(cpu),
            }
        };
        let took = self.started.elapsed();
        match status {
            Some(status) if status.success() => Ok(Finished { lines, took, cpu }),
            Some(status) => self.fails(&format!("failed ({status})")),
            None => {
                self.kill();
                self.fails(&format!("did not end within {deadline:?}"))
            }
        }
    }

    fn wait(&mut self, deadline: Duration) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if self.started.elapsed() > deadline {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// CPU time of all its threads so far.
    pub fn cpu(&self) -> Option<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // The name, in brackets, may hold blanks; time in user and in kernel
        // mode are the 12th and 13th behind it, in hundredths of a second.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        Some(Duration::from_millis(ticks * 10))
    }

    /// Resident memory in bytes: of the process, shared pages included.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| path.clone())?;
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("{path} names no VmRSS"))?;
        Ok(kib * 1024)
    }

    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// An error with the last lines of its standard error; it has ended.
    fn fails<T>(&mut self, how: &str) -> Result<T> {
        let text = self.stderr.take().and_then(|reader| reader.join().ok()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(STDERR_LINES)..];
        if last.is_empty() {
            bail!("{} {how}", self.name);
        }
        bail!("{} {how}; its last lines:\n  {}", self.name, last.join("\n  "))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Finished {
    /// The last line that is a JSON object.
    pub fn json(&self) -> Result<serde_json::Value> {
        self.lines
            .iter()
            .rev()
            .find_map(|(_, line)| serde_json::from_str(line).ok().filter(serde_json::Value::is_object))
            .context("it printed no JSON object")
    }
}

/// A field of a JSON object that is a number.
pub fn number(value: &serde_json::Value, field: &str) -> Result<f64> {
    value[field].as_f64().with_context(|| format!("no number `{field}` in {value}"))
}

#[cfg(test)]
mod tests {
    use super::{Process, number};
    use std::process::Command;
    use std::time::Duration;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Process {
        Process::start(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn the_last_json_line_is_the_result() {
        let finished = shell("echo noise; echo '{\"rate\": 3}'; echo more").finish(SOON).unwrap();
        assert_eq!(number(&finished.json().unwrap(), "rate").unwrap(), 3.0);
    }

    #[test]
    fn a_failure_repeats_what_the_process_said() {
        let error = shell("echo broken >&2; exit 3").finish(SOON).err().unwrap().to_string();
        assert!(error.contains("exit status: 3") && error.contains("broken"), "{error}");
    }

    #[test]
    fn a_process_that_hangs_is_ended() {
        let error = shell("exec sleep 1000").finish(Duration::from_millis(50)).err().unwrap().to_string();
        assert!(error.contains("did not end within"), "{error}");
    }

    #[test]
    fn a_line_comes_with_its_time_and_memory_can_be_read() {
        let mut process = shell("echo ready; exec sleep 1000");
        let (_, line) = process.line(SOON).unwrap();
        assert_eq!(line, "ready");
        assert!(process.resident_bytes().unwrap() > 0);
    }
}

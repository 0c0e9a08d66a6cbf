//! The thread that writes the log of answers.
//!
//! Takes lines, writes them to a file, or to standard output, within a fraction of a second; opens the file anew when it is
//! told to, so that it can be moved away. A thread of its own, because a disk may take seconds: nobody waits for it, at the
//! end neither.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::config::AccessLogSettings;
use crate::telemetry::{AccessLine, AccessLog, LogFormat, Metrics, Throttle};

/// How long a line waits for others to be written with.
const FLUSH: Duration = Duration::from_millis(200);
/// How long the end of the process waits for a disk.
const PATIENCE: Duration = Duration::from_secs(1);
/// One line of the other log in this time, about a file that cannot be written.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Its owner's, and to be read by his group: it names tenants and addresses.
const MODE: u32 = 0o640;

/// Writes until it is dropped, and then what is left.
pub(super) struct Writer {
    asked: Arc<Asked>,
    ended: Receiver<()>,
}

#[derive(Default)]
struct Asked {
    reopen: AtomicBool,
    stop: AtomicBool,
}

type Out = BufWriter<Box<dyn Write + Send>>;

struct Writing {
    /// None: standard output.
    file: Option<PathBuf>,
    format: LogFormat,
    /// None: it could not be opened again, and is tried with the next lines.
    out: Option<Out>,
    flushed: Instant,
    /// Not written out yet.
    held: u64,
    metrics: Arc<Metrics>,
    told: Throttle,
}

impl Writer {
    /// # Errors
    /// If the file cannot be opened, or the system has no thread to give.
    pub(super) fn start(settings: &AccessLogSettings, metrics: &Arc<Metrics>) -> io::Result<(Self, AccessLog)> {
        let (log, lines) = AccessLog::new(settings.sample, Arc::clone(metrics));
        let mut writing = Writing {
            out: Some(open(settings.file.as_deref())?),
            file: settings.file.clone(),
            format: settings.format,
            flushed: Instant::now(),
            held: 0,
            metrics: Arc::clone(metrics),
            told: Throttle::new(1, TELL_EVERY),
        };
        let asked = Arc::<Asked>::default();
        let (end, ended): (SyncSender<()>, _) = sync_channel(1);
        let of_thread = Arc::clone(&asked);
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                writing.run(&lines, &of_thread);
                let _ = end.send(());
            })?;
        Ok((Self { asked, ended }, log))
    }

    /// Has the next lines go to a file that is opened by the same name.
    pub(super) fn reopen(&self) {
        self.asked.reopen.store(true, Ordering::Release);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.asked.stop.store(true, Ordering::Release);
        // A disk that stands still keeps nobody from ending.
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

impl Writing {
    fn run(&mut self, lines: &Receiver<AccessLine>, asked: &Asked) {
        loop {
            let stop = asked.stop.load(Ordering::Acquire);
            let next = match stop {
                true => lines.try_recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => lines.recv_timeout(FLUSH),
            };
            if asked.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            match next {
                Ok(line) => self.write(&line),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
            if self.flushed.elapsed() >= FLUSH {
                self.flush();
            }
        }
    }

    fn write(&mut self, line: &AccessLine) {
        self.held += 1;
        let text = line.text(self.format);
        let Some(out) = &mut self.out else { return };
        if let Err(error) = out.write_all(text.as_bytes()) {
            self.lose(&error);
        }
    }

    fn flush(&mut self) {
        self.flushed = Instant::now();
        if self.held == 0 {
            return;
        }
        if let Err(error) = self.try_flush() {
            return self.lose(&error);
        }
        self.metrics.access_log_lines.inc_by(std::mem::take(&mut self.held));
    }

    /// Of lines that came when there was no file, this gives why there is none.
    fn try_flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Some(out) => out.flush(),
            None => {
                self.out = Some(open(self.file.as_deref())?);
                Err(io::Error::other("it could not be opened until now"))
            }
        }
    }

    /// What cannot be opened by its name goes on under the one that it was opened by.
    fn reopen(&mut self) {
        self.flush();
        match open(self.file.as_deref()) {
            Ok(out) => self.out = Some(out),
            Err(error) => self.tell(&error),
        }
    }

    /// Lines that were held and cannot be written are given up, and the file is opened anew.
    fn lose(&mut self, error: &io::Error) {
        self.tell(error);
        (0..std::mem::take(&mut self.held)).for_each(|_| self.metrics.access_log_left_out("error"));
        // What the old one holds goes with it, or half a line would be written twice.
        if let Some(old) = self.out.take() {
            let (_, _) = old.into_parts();
            self.out = open(self.file.as_deref()).ok();
        }
    }

    fn tell(&self, error: &io::Error) {
        if let Some(untold) = self.told.due(Instant::now()) {
            tracing::warn!(%error, untold, "the access log cannot be written; no write waits for it");
        }
    }
}

fn open(file: Option<&Path>) -> io::Result<Out> {
    let Some(file) = file else {
        return Ok(BufWriter::new(Box::new(io::stdout())));
    };
    let file: File = OpenOptions::new().append(true).create(true).mode(MODE).open(file)?;
    Ok(BufWriter::new(Box::new(file)))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::SystemTime;

    use super::*;

    fn line(request_id: &str) -> AccessLine {
        AccessLine {
            time: SystemTime::now(),
            tenant: "a".into(),
            status: 204,
            reason: "",
            bytes: 1,
            samples: Some(1),
            duration: Duration::ZERO,
            upstreams: "soft".into(),
            request_id: request_id.into(),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            credential: "bearer_token",
            untold: 0,
        }
    }

    #[test]
    fn what_was_told_is_written_when_the_writer_ends() {
        let folder = tempfile::tempdir().unwrap();
        let settings = AccessLogSettings {
            file: Some(folder.path().join("access.log")),
            format: LogFormat::Logfmt,
            sample: 1.0,
        };
        let metrics = Arc::new(Metrics::new());
        let (writer, log) = Writer::start(&settings, &metrics).unwrap();
        ["one", "two"].iter().for_each(|id| log.tell(line(id)));
        drop(writer);
        let text = std::fs::read_to_string(folder.path().join("access.log")).unwrap();
        let ids: Vec<_> = text.lines().map(|line| line.contains("request_id=one")).collect();
        assert_eq!(ids, [true, false], "{text}");
        assert_eq!(metrics.access_log_lines.get(), 2);
    }

    #[test]
    fn a_full_disk_costs_lines_and_nothing_else() {
        let settings = AccessLogSettings {
            file: Some("/dev/full".into()),
            format: LogFormat::Json,
            sample: 1.0,
        };
        let metrics = Arc::new(Metrics::new());
        let (writer, log) = Writer::start(&settings, &metrics).unwrap();
        log.tell(line("one"));
        drop(writer);
        let text = metrics.text();
        assert!(
            text.contains("gauntlet_access_log_dropped_total{reason=\"error\"} 1"),
            "{text}"
        );
        assert_eq!(metrics.access_log_lines.get(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_at_the_start() {
        let settings = AccessLogSettings {
            file: Some("/no/such/folder/access.log".into()),
            format: LogFormat::Json,
            sample: 1.0,
        };
        assert!(Writer::start(&settings, &Arc::new(Metrics::new())).is_err());
    }
}

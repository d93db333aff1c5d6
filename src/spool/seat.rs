//! One conversation of the socket: it ends by a fixed time, however its other end divides its bytes, and at once when
//! the door is closed.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The conversation that a thread is in.
#[derive(Debug, Default)]
pub(super) struct Seat(Mutex<Option<Arc<UnixStream>>>);

impl Seat {
    pub(super) fn take(&self, stream: UnixStream) -> Arc<UnixStream> {
        let stream = Arc::new(stream);
        *self.lock() = Some(Arc::clone(&stream));
        stream
    }

    pub(super) fn leave(&self) {
        *self.lock() = None;
    }

    /// Lets the thread read to the end of what was sent already, and answer.
    pub(super) fn hear_no_more(&self) {
        if let Some(stream) = &*self.lock() {
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    #[cfg(test)]
    pub(super) fn is_free(&self) -> bool {
        self.lock().is_none()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<UnixStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream as long as there is time for it.
pub(super) struct Timed<'a> {
    stream: &'a UnixStream,
    given: Duration,
    began: Instant,
}

impl<'a> Timed<'a> {
    pub(super) fn new(stream: &'a UnixStream, given: Duration) -> Self {
        Self { stream, given, began: Instant::now() }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.given.saturating_sub(self.began.elapsed());
        if left.is_zero() { Err(self.late()) } else { Ok(left) }
    }

    fn late(&self) -> io::Error {
        let why = format!("the other end of the socket took longer than {} s", self.given.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, why)
    }

    /// Systems say in two ways that the time of a step is over.
    fn explain(&self, error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.late(),
            _ => error,
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        let mut stream = self.stream;
        stream.read(bytes).map_err(|error| self.explain(error))
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        let mut stream = self.stream;
        stream.write(bytes).map_err(|error| self.explain(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_now_and_then_does_not_prolong_a_conversation() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            while { &theirs }.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let error = Timed::new(&ours, Duration::from_millis(100)).read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn silence_ends_too() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = Timed::new(&ours, Duration::from_millis(20)).read(&mut [0]).unwrap_err();
        assert!(error.to_string().contains("took longer than"), "{error}");
    }
}

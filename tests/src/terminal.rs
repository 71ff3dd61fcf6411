//! A terminal: what a program writes to it, and what of that stays to be seen.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Moves to the begin of the line and empties it.
pub const CLEAR: &str = "\r\x1b[2K";

/// One end is the program's, the other is read here.
pub struct Terminal {
    written: Arc<Mutex<String>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// A terminal of so many columns, and the end for a program.
    pub fn open(columns: u16) -> (Self, File) {
        let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let (mut own, mut program) = (-1, -1);
        // SAFETY: both ends are written, name and settings may be null, and the
        // size is only read.
        let opened =
            unsafe { libc::openpty(&mut own, &mut program, std::ptr::null_mut(), std::ptr::null(), &size) };
        assert_eq!(opened, 0, "a terminal: {}", std::io::Error::last_os_error());
        // SAFETY: both were just opened and belong to nobody else.
        let (mut own, program) = unsafe { (File::from_raw_fd(own), File::from_raw_fd(program)) };
        let written = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&written);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            let mut bytes = Vec::new();
            // It fails once the program's end is closed.
            while let Ok(length @ 1..) = own.read(&mut piece) {
                bytes.extend_from_slice(&piece[..length]);
                *shared.lock().expect("no panic") = String::from_utf8_lossy(&bytes).into_owned();
            }
        });
        (Self { written, reader }, program)
    }

    /// All that was written so far.
    pub fn written(&self) -> String {
        self.written.lock().expect("no panic").clone()
    }

    /// All that was written, once the program's end is closed.
    pub fn close(self) -> String {
        self.reader.join().expect("the reader");
        let written = self.written.lock().expect("no panic");
        written.clone()
    }
}

/// The lines that stay to be seen.
pub fn seen(written: &str) -> Vec<String> {
    let lines = written.split("\r\n");
    lines.map(|line| line.rsplit(CLEAR).next().unwrap_or_default().to_owned()).collect()
}

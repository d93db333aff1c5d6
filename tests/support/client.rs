//! An SMTP client that says what a server answered, and an error when the connection is gone.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

pub struct Client {
    stream: TcpStream,
    replies: BufReader<TcpStream>,
}

impl Client {
    /// Connects and says hello.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client = Self { replies: BufReader::new(stream.try_clone()?), stream };
        client.expect("220")?;
        client.say("EHLO client.example", "250")?;
        Ok(client)
    }

    /// Sends one mail and gives the reply to its last dot, or the first that refused something before.
    pub fn mail(&mut self, from: &str, to: &str, mail: &str) -> io::Result<String> {
        if let Some(refused) = self.begin(from, to)? {
            return Ok(refused);
        }
        self.send(mail)?;
        self.finish()
    }

    /// The commands up to DATA; gives the reply that refused one of them.
    pub fn begin(&mut self, from: &str, to: &str) -> io::Result<Option<String>> {
        for (line, expected) in [
            (format!("MAIL FROM:<{from}>"), "250"),
            (format!("RCPT TO:<{to}>"), "250"),
            ("DATA".into(), "354"),
        ] {
            let reply = self.command(&line)?;
            if !reply.starts_with(expected) {
                self.command("RSET")?;
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    /// Lines of a message, dot-stuffed, with CRLF.
    pub fn send(&mut self, text: &str) -> io::Result<()> {
        self.write(&on_the_wire(text))
    }

    /// The last dot, and its reply.
    pub fn finish(&mut self) -> io::Result<String> {
        self.command(".")
    }

    /// Bytes as they are, for clients that do not wait for each reply.
    pub fn write(&mut self, bytes: &str) -> io::Result<()> {
        self.stream.write_all(bytes.as_bytes())
    }

    pub fn command(&mut self, line: &str) -> io::Result<String> {
        self.stream.write_all(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    pub fn say(&mut self, line: &str, code: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\r\n").as_bytes())?;
        self.expect(code)
    }

    pub fn expect(&mut self, code: &str) -> io::Result<()> {
        let reply = self.reply()?;
        match reply.starts_with(code) {
            true => Ok(()),
            false => Err(io::Error::other(format!("expected {code}, the server said `{reply}`"))),
        }
    }

    /// The last line of the next reply.
    pub fn reply(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            if self.replies.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.trim_end().to_owned());
            }
        }
    }
}

/// Lines of a message as DATA takes them.
pub fn on_the_wire(text: &str) -> String {
    let mut wire = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        let dot = if line.starts_with('.') { "." } else { "" };
        wire.push_str(&format!("{dot}{line}\r\n"));
    }
    wire
}

//! A smarthost that takes every mail and remembers it.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub to: String,
    pub text: String,
}

impl Taken {
    /// The value of a header field, with folds undone.
    pub fn field(&self, name: &str) -> Option<String> {
        let head = self.text.split("\r\n\r\n").next().unwrap().replace("\r\n ", " ");
        let mut fields = head.split("\r\n").filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| *field == name).map(|(_, value)| value.to_owned())
    }

    /// The address in Reply-To, which carries the recipient's own token.
    pub fn reply_to(&self) -> String {
        let field = self.field("Reply-To").unwrap();
        field.rsplit_once('<').map_or(field.clone(), |(_, address)| address.trim_end_matches('>').to_owned())
    }

    /// Whether it is the same mail to the same recipient; when it was sent may differ.
    pub fn is_as(&self, other: &Self) -> bool {
        let undated = |mail: &Self| -> String {
            mail.text.split_inclusive('\n').filter(|line| !line.starts_with("Date: ")).collect()
        };
        self.to == other.to && undated(self) == undated(other)
    }
}

#[derive(Clone)]
pub struct Sink {
    pub port: u16,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sink = Self { port: listener.local_addr().unwrap().port(), taken: Arc::default() };
        let serving = sink.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sink = serving.clone();
                // An error is a client that went away.
                std::thread::spawn(move || sink.session(&stream));
            }
        });
        sink
    }

    /// The mails taken so far, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    fn session(&self, stream: &TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let (mut lines, mut out) = (BufReader::new(stream), stream);
        let mut to = String::new();
        out.write_all(b"220 sink.example ready\r\n")?;
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let verb = line.split([' ', ':', '\r']).next().unwrap_or_default();
            let answer = match verb {
                "EHLO" => "250-sink.example\r\n250 8BITMIME",
                "RCPT" => {
                    to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                    "250 ok"
                }
                "DATA" => {
                    out.write_all(b"354 go on\r\n")?;
                    let text = data(&mut lines)?;
                    // Noted before it is answered: who was told 250 may ask at once.
                    self.taken.lock().unwrap().push(Taken { to: to.clone(), text });
                    "250 taken"
                }
                "QUIT" => "221 bye",
                _ => "250 ok",
            };
            out.write_all(format!("{answer}\r\n").as_bytes())?;
        }
    }
}

fn data(lines: &mut impl BufRead) -> Result<String> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.strip_prefix('.') {
            Some("\r\n") => return Ok(text),
            Some(rest) => text.push_str(rest),
            None => text.push_str(&line),
        }
    }
}

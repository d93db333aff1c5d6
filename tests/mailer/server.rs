//! A smarthost that does as it is told: polite, unless a step was given something else to do.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub const USERNAME: &str = "postern";
pub const PASSWORD: &str = "correct horse";

/// What to do at a step instead of the polite thing.
#[derive(Clone)]
pub enum Act {
    Say(&'static str),
    /// Says no more, and waits for the client to hang up.
    Silence,
    HangUp,
    SayAndHangUp(&'static str),
    /// The polite answer, once this is told to.
    When(Arc<Mutex<mpsc::Receiver<()>>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub connection: usize,
    pub from: String,
    pub to: String,
    pub bytes: Vec<u8>,
    /// What was said to the final dot.
    pub answer: String,
}

impl Mail {
    pub fn header(&self, name: &str) -> String {
        let text = String::from_utf8(self.bytes.clone()).unwrap();
        let prefix = format!("{name}: ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Security {
    #[default]
    None,
    StartTls,
    Implicit,
}

/// How the server differs from the simplest one.
#[derive(Clone, Copy, Default)]
pub struct Manners {
    pub security: Security,
    /// As in the answer to EHLO.
    pub offers: &'static [&'static str],
}

#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    port: u16,
    manners: Manners,
    tls: Arc<ServerConfig>,
    /// Step, act, how often.
    acts: Mutex<Vec<(String, Act, usize)>>,
    heard: Mutex<Vec<(usize, String)>>,
    mails: Mutex<Vec<Mail>>,
    news: Condvar,
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}
type Line = BufReader<Box<dyn Wire>>;

impl Server {
    pub fn start() -> Self {
        Self::with(Manners::default())
    }

    pub fn with(manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self(Arc::new(Shared {
            port: listener.local_addr().unwrap().port(),
            manners,
            tls: tls_config(),
            acts: Mutex::default(),
            heard: Mutex::default(),
            mails: Mutex::default(),
            news: Condvar::new(),
        }));
        let serving = server.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (server, stream) = (serving.clone(), stream.unwrap());
                // An error is a client that went away.
                std::thread::spawn(move || server.session(&stream, number + 1));
            }
        });
        server
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// At the next line that begins so. `connect` is the greeting, `.` the end of a mail.
    pub fn once(&self, step: &str, act: Act) -> &Self {
        self.0.acts.lock().unwrap().push((step.to_owned(), act, 1));
        self
    }

    pub fn always(&self, step: &str, answer: &'static str) -> &Self {
        self.0.acts.lock().unwrap().push((step.to_owned(), Act::Say(answer), usize::MAX));
        self
    }

    pub fn behave(&self) {
        self.0.acts.lock().unwrap().clear();
    }

    /// The mails that were taken.
    pub fn taken(&self) -> Vec<Mail> {
        self.ended().into_iter().filter(|mail| mail.answer.starts_with('2')).collect()
    }

    /// The mails that came to their final dot.
    pub fn ended(&self) -> Vec<Mail> {
        self.0.mails.lock().unwrap().clone()
    }

    pub fn heard(&self) -> Vec<String> {
        self.0.heard.lock().unwrap().iter().map(|(_, line)| line.clone()).collect()
    }

    pub fn connections(&self) -> usize {
        self.0.heard.lock().unwrap().iter().map(|(number, _)| *number).max().unwrap_or(0)
    }

    /// Waits, with a bound, until so many lines that begin so were heard.
    pub fn wait_for(&self, step: &str, times: usize) {
        let heard = self.0.heard.lock().unwrap();
        let lacking = |heard: &mut Vec<(usize, String)>| count(heard, step) < times;
        let bound = Duration::from_secs(60);
        let (heard, waited) = self.0.news.wait_timeout_while(heard, bound, lacking).unwrap();
        assert!(!waited.timed_out(), "`{step}` was not heard {times} times: {heard:?}");
    }

    fn session(&self, stream: &TcpStream, number: usize) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut line = match self.0.manners.security {
            Security::Implicit => self.encrypted(stream)?,
            Security::None | Security::StartTls => {
                BufReader::new(Box::new(stream.try_clone()?) as Box<dyn Wire>)
            }
        };
        self.hear(number, "connect");
        self.answer(&mut line, number, "connect", "220 smart.example ready")?;
        let (mut from, mut to) = (String::new(), String::new());
        loop {
            let command = read_line(&mut line)?;
            self.hear(number, if command.is_empty() { "eof" } else { &command });
            let verb = command.split([' ', ':']).next().unwrap_or_default();
            let answer = self.answer(&mut line, number, &command, &self.polite(&command))?;
            match verb {
                "" | "QUIT" => return Ok(()),
                "MAIL" => from = command,
                "RCPT" => to = command,
                "AUTH" if answer.starts_with("334") => self.login(&mut line)?,
                "STARTTLS" if answer.starts_with('2') => line = self.encrypted(stream)?,
                "DATA" if answer.starts_with('3') => {
                    let bytes = read_mail(&mut line)?;
                    self.hear(number, ".");
                    let (from, to) = (from.clone(), to.clone());
                    let mail = Mail { connection: number, from, to, bytes, answer: String::new() };
                    self.0.mails.lock().unwrap().push(mail);
                    self.answer(&mut line, number, ".", "250 taken")?;
                }
                _ => {}
            }
        }
    }

    fn polite(&self, command: &str) -> String {
        let verb = command.split([' ', ':']).next().unwrap_or_default();
        match verb {
            "EHLO" => {
                let offers = self.0.manners.offers.iter().map(|offer| format!("250-{offer}\r\n"));
                format!("250-smart.example\r\n{}250 8BITMIME", offers.collect::<String>())
            }
            "DATA" => "354 go on".to_owned(),
            "AUTH" if command.starts_with("AUTH LOGIN") => "334 VXNlcm5hbWU6".to_owned(),
            "AUTH" => {
                let secret = BASE64_STANDARD.encode(format!("\0{USERNAME}\0{PASSWORD}"));
                verdict(command == format!("AUTH PLAIN {secret}")).to_owned()
            }
            "STARTTLS" => "220 go on".to_owned(),
            "" => String::new(),
            "MAIL" | "RCPT" | "RSET" => format!("250 {verb} ok"),
            "QUIT" => "221 bye".to_owned(),
            _ => "500 what?".to_owned(),
        }
    }

    fn login(&self, line: &mut Line) -> Result<()> {
        let username = read_line(line)?;
        say(line, "334 UGFzc3dvcmQ6")?;
        let password = read_line(line)?;
        let right =
            username == BASE64_STANDARD.encode(USERNAME) && password == BASE64_STANDARD.encode(PASSWORD);
        say(line, verdict(right))
    }

    /// Does what is to be done at this step; answers what was said. An error ends the session.
    fn answer(&self, line: &mut Line, number: usize, step: &str, polite: &str) -> Result<String> {
        let gone = || std::io::Error::other("hung up");
        let answer = match self.act(step) {
            None => polite.to_owned(),
            Some(Act::Say(answer)) => answer.to_owned(),
            Some(Act::When(told)) => {
                told.lock().unwrap().recv().map_err(|_| gone())?;
                polite.to_owned()
            }
            Some(Act::SayAndHangUp(answer)) => {
                self.note(number, step, answer);
                say(line, answer)?;
                return Err(gone());
            }
            Some(Act::HangUp) => return Err(gone()),
            Some(Act::Silence) => {
                std::io::copy(line, &mut std::io::sink())?;
                return Err(gone());
            }
        };
        self.note(number, step, &answer);
        if !answer.is_empty() {
            say(line, &answer)?;
        }
        Ok(answer)
    }

    /// Written down before it is said: a test may look as soon as the client knows.
    fn note(&self, number: usize, step: &str, answer: &str) {
        let mut mails = self.0.mails.lock().unwrap();
        if step == "."
            && let Some(mail) = mails.iter_mut().rfind(|mail| mail.connection == number)
        {
            mail.answer = answer.to_owned();
        }
    }

    fn act(&self, step: &str) -> Option<Act> {
        let mut acts = self.0.acts.lock().unwrap();
        let fits =
            |(wanted, _, left): &&mut (String, Act, usize)| step.starts_with(wanted.as_str()) && *left > 0;
        let (_, act, left) = acts.iter_mut().find(fits)?;
        *left -= 1;
        Some(act.clone())
    }

    fn hear(&self, number: usize, line: &str) {
        self.0.heard.lock().unwrap().push((number, line.to_owned()));
        self.0.news.notify_all();
    }

    fn encrypted(&self, stream: &TcpStream) -> Result<Line> {
        let session = ServerConnection::new(Arc::clone(&self.0.tls)).unwrap();
        Ok(BufReader::new(Box::new(StreamOwned::new(session, stream.try_clone()?))))
    }
}

fn count(heard: &[(usize, String)], step: &str) -> usize {
    heard.iter().filter(|(_, line)| line.starts_with(step)).count()
}

fn verdict(right: bool) -> &'static str {
    if right { "235 welcome" } else { "535 5.7.8 who are you?" }
}

fn say(line: &mut Line, answer: &str) -> Result<()> {
    line.get_mut().write_all(format!("{answer}\r\n").as_bytes())?;
    line.get_mut().flush()
}

/// Empty at the end.
fn read_line(line: &mut Line) -> Result<String> {
    let mut text = String::new();
    line.read_line(&mut text)?;
    Ok(text.trim_end().to_owned())
}

/// The mail as it was meant, dot-stuffing undone.
fn read_mail(line: &mut Line) -> Result<Vec<u8>> {
    let mut mail = Vec::new();
    loop {
        let mut bytes = Vec::new();
        if line.read_until(b'\n', &mut bytes)? == 0 {
            return Err(std::io::Error::other("cut off"));
        }
        match bytes.strip_prefix(b".") {
            Some(b"\r\n") => return Ok(mail),
            Some(rest) => mail.extend_from_slice(rest),
            None => mail.extend_from_slice(&bytes),
        }
    }
}

pub fn authority() -> Vec<u8> {
    include_bytes!("tls/ca.pem").to_vec()
}

fn tls_config() -> Arc<ServerConfig> {
    let chain = vec![CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

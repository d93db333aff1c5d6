//! The commands (DESIGN §10). Each prints a readable form, or JSON with `--json`, and ends with a code that means something.

mod audit;
mod backup;
mod check;
mod deliver;
mod explain;
mod failed;
mod keys;
mod outbox;
mod output;
pub mod privacy;
mod replay;
mod restore;
mod serve;
mod suspended;
mod ticket;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use output::Exit;

#[derive(Debug, Parser)]
#[command(name = "postern", version, about = "Turns support mail into tickets", long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where the account lives; every command takes these.
#[derive(Clone, Debug, Args)]
struct Place {
    /// The configuration file; its siblings (people.toml, triggers.toml) are read beside it.
    /// Without it: ./config/postern.toml if that is there, else built-in defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory [default: as configured, else ./data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// One row by its number.
#[derive(Debug, Args)]
struct One {
    id: i64,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: take mail in, decide it, send notifications
    Serve(serve::Serve),
    /// Check the configuration and print what is in force
    Check(check::Check),
    /// Take one mail from standard input (pipe transport; exit 75 asks the mail server to try again)
    Deliver(deliver::Deliver),
    /// Decide mails from files, in order, and print what became of each
    Replay(replay::Replay),
    /// Show why a mail, a fixture folder or a stored comment was decided as it was; writes nothing
    Explain(explain::Explain),
    /// The comment privacy list by itself
    #[command(subcommand)]
    Privacy(PrivacyCommand),
    /// Tickets
    #[command(subcommand)]
    Ticket(ticket::TicketCommand),
    /// Mail held for a person
    #[command(subcommand)]
    Suspended(suspended::SuspendedCommand),
    /// Mail that could not be decided
    #[command(subcommand)]
    Failed(failed::FailedCommand),
    /// Mail promised and what became of it
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// The keys that sign ticket references
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Prove that the books balance: every accepted mail is in exactly one state
    Audit(audit::Audit),
    /// Save database, mail, keys and configuration as one verified set, while the daemon works
    Backup(backup::Backup),
    /// Make a data directory of a backup
    Restore(restore::Restore),
}

#[derive(Debug, Subcommand)]
enum PrivacyCommand {
    /// Read facts as JSON, one object per line, and answer each with its decision and trace
    Decide,
    /// Print the list of rules
    Rules,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return usage(error.use_stderr()).into();
        }
    };
    let exit = match cli.command {
        Command::Serve(command) => serve::run(&command),
        Command::Check(command) => check::run(&command),
        Command::Deliver(command) => deliver::run(&command),
        Command::Replay(command) => replay::run(&command),
        Command::Explain(command) => explain::run(&command),
        Command::Privacy(PrivacyCommand::Decide) => privacy_decide(),
        Command::Privacy(PrivacyCommand::Rules) => output::print(&crate::privacy::rules_markdown()),
        Command::Ticket(command) => ticket::run(&command),
        Command::Suspended(command) => suspended::run(&command),
        Command::Failed(command) => failed::run(&command),
        Command::Outbox(command) => outbox::run(&command),
        Command::Keys(command) => keys::run(&command),
        Command::Audit(command) => audit::run(&command),
        Command::Backup(command) => backup::run(&command),
        Command::Restore(command) => restore::run(&command),
    };
    match exit {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report().into(),
    }
}

/// How a command line ends that is not run. A mail server would bounce a mail for a slip in its pipe's command line:
/// for `deliver` that is trouble as any other.
fn usage(is_mistake: bool) -> Exit {
    let delivers = std::env::args_os().nth(1).is_some_and(|command| command == "deliver");
    match (is_mistake, delivers) {
        (false, _) => Exit::OK,
        (true, false) => Exit::USAGE,
        (true, true) => Exit::TEMPORARY,
    }
}

fn privacy_decide() -> Result<Exit, output::Failure> {
    let code = privacy::run(std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(Exit(code))
}

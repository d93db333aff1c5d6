//! Sets the log up: where lines go, in which form, and how many.

use std::io::IsTerminal as _;

use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// The environment variable that says how much is logged.
pub const FILTER_VARIABLE: &str = "POSTERN_LOG";

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(
        "{FILTER_VARIABLE}: `{found}` is not a filter, expected a level like `debug` or `info,postern::smtp=trace`"
    )]
    Filter { found: String },
    #[error("the log is set up already")]
    Twice,
}

/// Sets up the log on standard error: JSON lines, or a readable form if that is a terminal.
///
/// # Errors
/// If [`FILTER_VARIABLE`] holds no filter, or the log was set up before.
pub fn init() -> Result<(), TelemetryError> {
    let wanted = std::env::var(FILTER_VARIABLE).unwrap_or_default();
    let terminal = std::io::stderr().is_terminal();
    let dispatch = dispatch(&wanted, terminal, std::io::stderr)?;
    tracing::dispatcher::set_global_default(dispatch).map_err(|_| TelemetryError::Twice)
}

pub(super) fn dispatch(
    wanted: &str,
    terminal: bool,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Result<Dispatch, TelemetryError> {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(wanted)?).with_writer(writer);
    Ok(match terminal {
        true => Dispatch::new(builder.compact().with_target(false).finish()),
        false => Dispatch::new(
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish(),
        ),
    })
}

/// A bare level is meant for us: what libraries log in detail may hold mail.
pub(super) fn filter(wanted: &str) -> Result<EnvFilter, TelemetryError> {
    let wanted = if wanted.trim().is_empty() { "info" } else { wanted.trim() };
    let is_level = wanted.parse::<tracing::Level>().is_ok();
    let directives = if is_level { format!("warn,postern={wanted}") } else { wanted.to_owned() };
    EnvFilter::try_new(directives).map_err(|_| TelemetryError::Filter { found: wanted.to_owned() })
}

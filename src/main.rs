//! Parse the arguments, call the command, turn its answer into an exit code.

fn main() -> std::process::ExitCode {
    postern::cli::main()
}

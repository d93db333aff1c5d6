//! Parse the arguments, call the command, turn its answer into an exit code.

/// A mail is hundreds of small allocations on one thread, freed on the same: this allocator takes half the time of the
/// system's for them (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    postern::cli::main()
}

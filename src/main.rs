//! Parse the arguments, call the command, turn its answer into an exit code.

/// For SQLite too, whose pages and rows are most of what is allocated: the C library's allocator takes about a twentieth more
/// processor time for a mail (docs/performance.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    postern::cli::main()
}

//! Arguments → command → exit code, and the allocator. All else is in the library.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    ucs_gateway::cli::main()
}

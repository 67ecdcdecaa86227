//! Arguments → command → exit code. All else is in the library.

fn main() -> std::process::ExitCode {
    ucs_gateway::cli::main()
}

//! The command line: one file a command.

mod admin_client;
pub mod mode;
pub mod token;

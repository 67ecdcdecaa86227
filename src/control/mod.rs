//! x

pub mod journal;
pub mod store;
pub mod store_file;

#[cfg(test)]
mod tests;

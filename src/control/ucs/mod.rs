//! UCS as control sees it: the calls (`client`, `link`), and the state that control keeps about its profile schema and its own
//! Server Mode. Nothing here changes the gateway's record.

pub mod client;
pub mod link;
pub mod schema;
pub mod server_mode;

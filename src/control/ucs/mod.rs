//! UCS as control sees it: the calls (`client`, `link`), and the state that control keeps about its profile schema and its own
//! Server Mode. Nothing here changes the gateway's record.

pub(crate) mod client;
pub(crate) mod credentials;
pub(crate) mod link;
pub(crate) mod schema;
pub(crate) mod server_mode;

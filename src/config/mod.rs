//! The settings of `serve`: flags and environment variables as written (`args`), and their checked form (`settings`). It opens
//! nothing and reads no file.

mod args;
mod named;
mod settings;
mod store_args;
mod tls_args;

pub use args::ServeArgs;
pub(crate) use args::UpstreamParser;
pub(crate) use named::named;
pub use settings::Settings;
pub(crate) use settings::{
    AdminSettings, MemberSettings, OnChangeSettings, SettingsError, StorePlace, check_class_limits, default_state_dir,
};
pub(crate) use store_args::StoreAccess;

//! Compiles the gateway's files with their model.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cfg=fleet_model");
}

//! The only place that talks to the operating system.
//!
//! A port is one more file here with the same functions; nothing above this
//! module names a system call.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::*;

#[cfg(not(target_os = "linux"))]
compile_error!("allcores-core runs on Linux; other systems need a file in src/os");

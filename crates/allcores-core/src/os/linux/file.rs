//! The file behind the arena: made, grown, given back, whatever the system allows.
//!
//! Pages of a file that were never written may turn out not to be there when they are
//! first touched, which is a SIGBUS. So memory is committed before it is used, by a call
//! that can fail.

use std::ffi::{CStr, CString, c_int};
use std::io::Error as IoError;
use std::os::unix::ffi::OsStringExt;

use super::refused::{self, Call};
use super::{PAGE, close, last, random};
use crate::error::{Error, Result};

const MFD_CLOEXEC: u32 = 0x1;
const MFD_ALLOW_SEALING: u32 = 0x2;
const MFD_NOEXEC_SEAL: u32 = 0x8;

/// Room that a file system in memory should have to be preferred to one on disk: the
/// `/dev/shm` of a container often has only 64 MiB. A guess.
const ROOM: u64 = 256 << 20;

fn errno() -> i32 {
    IoError::last_os_error().raw_os_error().unwrap_or(0)
}

/// Makes an anonymous shared memory, closed on exec, that can grow but never shrink; where
/// the system refuses that, a file without a name.
pub fn anonymous(name: &CStr) -> Result<c_int> {
    // Systems before 6.3 do not know MFD_NOEXEC_SEAL and answer EINVAL; some
    // hardened ones refuse everything without it. So: the strict form first.
    for flags in [
        MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL,
        MFD_CLOEXEC | MFD_ALLOW_SEALING,
    ] {
        // SAFETY: `name` is a NUL-terminated string; the call takes no other memory.
        let fd = unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) };
        if fd >= 0 {
            return Ok(fd as c_int);
        }
        if errno() != libc::EINVAL {
            break;
        }
    }
    if !(refused::for_good() || errno() == libc::EINVAL) {
        return Err(last("memfd_create"));
    }
    let error = last("memfd_create");
    let fd = nameless_file().ok_or(error)?;
    refused::note(Call::Memfd);
    Ok(fd)
}

/// How good a folder is for the arena; less is better.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ground {
    Memory,
    Disk,
    LittleMemory,
    Network,
}

/// A file that no folder shows, on the best ground to be had.
fn nameless_file() -> Option<c_int> {
    let asked = ["XDG_RUNTIME_DIR", "TMPDIR"].map(std::env::var_os);
    let known = ["/dev/shm", "/tmp", "/var/tmp"].map(|folder| Some(folder.into()));
    let mut best: Option<(Ground, c_int, CString)> = None;
    for folder in known[..1].iter().chain(&asked).chain(&known[1..]) {
        let Some(folder) = folder.clone().filter(|folder| !folder.is_empty()) else {
            continue;
        };
        let Ok(folder) = CString::new(folder.into_vec()) else {
            continue;
        };
        let Some(fd) = file_in(&folder) else { continue };
        let ground = ground(fd);
        if best.as_ref().is_none_or(|(other, ..)| ground < *other) {
            if let Some((_, other, _)) = best.replace((ground, fd, folder)) {
                close(other);
            }
        } else {
            close(fd);
        }
    }
    let (ground, fd, folder) = best?;
    let kind = match ground {
        Ground::Memory | Ground::LittleMemory => "in memory",
        Ground::Disk => "on disk, which is slower",
        Ground::Network => "not on this machine's own disk, which is slow",
    };
    let _ = refused::PLACE.set(format!(
        "a file without a name in {} ({kind})",
        folder.to_string_lossy()
    ));
    Some(fd)
}

/// What kind of file system `fd` is on, and whether that has room.
fn ground(fd: c_int) -> Ground {
    // SAFETY: all-zero is a valid value, and the call fills it.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `about` lives for the call.
    if unsafe { libc::fstatfs(fd, &mut about) } != 0 {
        return Ground::Disk;
    }
    match about.f_type as u32 {
        // tmpfs, ramfs
        0x0102_1994 | 0x8584_58f6 => {
            let free = about.f_bavail as u64 * about.f_bsize as u64;
            // Without a size limit both are 0.
            if about.f_blocks == 0 || free >= ROOM {
                Ground::Memory
            } else {
                Ground::LittleMemory
            }
        }
        // NFS, CIFS, SMB2, FUSE
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x6573_5546 => Ground::Network,
        _ => Ground::Disk,
    }
}

/// A file without a name in `folder`, readable by this user only.
fn file_in(folder: &CStr) -> Option<c_int> {
    let flags = libc::O_RDWR | libc::O_CLOEXEC | libc::O_EXCL;
    // SAFETY: a NUL-terminated path.
    let fd = unsafe { libc::open(folder.as_ptr(), flags | libc::O_TMPFILE, 0o600) };
    if fd >= 0 {
        return Some(fd);
    }
    // Not every file system can do that: then with a name, for a moment. Should the process
    // be killed in that moment, an empty file stays.
    let name = format!(
        "{}/.allcores-{:016x}",
        folder.to_str().ok()?,
        random().ok()?
    );
    let name = CString::new(name).ok()?;
    let flags = flags | libc::O_CREAT | libc::O_NOFOLLOW;
    // SAFETY: a NUL-terminated path.
    let fd = unsafe { libc::open(name.as_ptr(), flags, 0o600) };
    if fd < 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe { libc::unlink(name.as_ptr()) };
    Some(fd)
}

/// Forbids that the memory ever gets smaller, which would turn loads into SIGBUS. Where
/// that can't be forbidden the file is made `len` bytes long at once, so that nobody has
/// a reason to change its length.
///
/// # Errors
/// When the file can have no such length; a shorter one may do.
pub fn fix_length(fd: c_int, len: usize) -> Result<()> {
    // SAFETY: plain integers.
    if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, libc::F_SEAL_SHRINK) } == 0 {
        return Ok(());
    }
    refused::note(Call::Seal);
    lengthen(fd, len)
}

/// Makes the file at least `len` bytes long, without memory behind them.
fn lengthen(fd: c_int, len: usize) -> Result<()> {
    // Another process may make it longer at the same time, and only the seal keeps us from
    // cutting that off: it makes ours fail then. So at most a few rounds.
    for _ in 0..1000 {
        if super::file_size(fd)? >= len as u64 {
            return Ok(());
        }
        // SAFETY: plain integers.
        if unsafe { libc::ftruncate(fd, len as libc::off_t) } == 0 {
            return Ok(());
        }
        match errno() {
            libc::EINTR | libc::EPERM => continue,
            libc::EFBIG | libc::EINVAL | libc::ENOSPC | libc::ENOMEM | libc::EDQUOT => {
                return Err(Error::OutOfMemory { wanted: len });
            }
            _ => break,
        }
    }
    Err(last("ftruncate"))
}

/// Commits memory to `[offset, offset + len)` of the file, mapped at `base`, making it
/// longer where needed.
///
/// Afterwards loads and stores there cannot fail. Out of memory is an error here,
/// never a signal later.
pub fn commit(fd: c_int, base: *mut u8, offset: usize, len: usize) -> Result<()> {
    while !refused::is_known(Call::Fallocate) {
        // SAFETY: plain integers.
        let done = unsafe { libc::fallocate(fd, 0, offset as i64, len as i64) };
        if done == 0 {
            return Ok(());
        }
        match errno() {
            libc::EINTR => continue,
            libc::ENOSPC | libc::ENOMEM | libc::EFBIG | libc::EDQUOT => {
                return Err(Error::OutOfMemory { wanted: len });
            }
            _ if refused::for_good() => refused::note(Call::Fallocate),
            _ => return Err(last("fallocate")),
        }
    }
    lengthen(fd, offset + len)?;
    let mut page = offset & !(PAGE - 1);
    while page < offset + len {
        if !touch(base.wrapping_add(page).cast())? {
            return Err(Error::OutOfMemory { wanted: len });
        }
        page += PAGE;
    }
    Ok(())
}

/// Has the kernel write to the page with `word`, which changes nothing in it; false when
/// there is no memory for it.
///
/// A store of ours would be a SIGBUS then, and a `write` to the file would overwrite what
/// another process stores meanwhile. `FUTEX_WAKE_OP` changes a word atomically, by an OR
/// with zero here, and answers EFAULT where a store would be a signal.
fn touch(word: *mut u32) -> Result<bool> {
    let nobody = 0u32;
    // OP_OR with 0; then "was it less than 0?", which decides on another wake-up.
    let nothing = (libc::FUTEX_OP_OR << 28) | (libc::FUTEX_OP_CMP_LT << 24);
    loop {
        // SAFETY: the kernel checks both addresses; the first is a live word that nobody
        // waits for, the second is only changed by an atomic OR with zero. A waiter that
        // it wakes looks again at what it waits for.
        let done = unsafe {
            libc::syscall(
                libc::SYS_futex,
                &raw const nobody,
                libc::FUTEX_WAKE_OP,
                0,
                0usize,
                word,
                nothing,
            )
        };
        if done >= 0 {
            return Ok(true);
        }
        match errno() {
            libc::EINTR | libc::EAGAIN => continue,
            libc::EFAULT | libc::ENOMEM => return Ok(false),
            _ => return Err(last("futex(FUTEX_WAKE_OP)")),
        }
    }
}

/// Copies `len` bytes from `start` into the file at `offset`, where memory has been committed;
/// false where the system forbids that.
///
/// # Errors
/// EFAULT when `start` can't be read.
///
/// # Safety
/// There are `len` bytes at `start`, for as long as this takes.
pub unsafe fn write_at(fd: c_int, start: *const u8, len: usize, offset: u64) -> Result<bool> {
    let mut done = 0;
    while done < len {
        let from = start.wrapping_add(done).cast();
        // SAFETY: the rest of the caller's bytes.
        let put = unsafe { libc::pwrite(fd, from, len - done, (offset as usize + done) as i64) };
        match put {
            1.. => done += put as usize,
            -1 if errno() == libc::EINTR => continue,
            -1 if matches!(
                errno(),
                libc::ENOSPC | libc::ENOMEM | libc::EFBIG | libc::EDQUOT
            ) =>
            {
                return Err(Error::OutOfMemory { wanted: len });
            }
            _ if refused::for_good() => return Ok(false),
            _ => return Err(last("pwrite")),
        }
    }
    Ok(true)
}

/// Gives the pages of `[offset, offset + len)` back to the system; they read as zero then.
/// Whole pages only.
pub fn give_back(fd: c_int, base: *mut u8, offset: usize, len: usize) -> Result<()> {
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    while !refused::is_known(Call::PunchHole) {
        // SAFETY: plain integers.
        let done = unsafe { libc::fallocate(fd, mode, offset as i64, len as i64) };
        if done == 0 {
            return Ok(());
        }
        if errno() == libc::EINTR {
            continue;
        }
        if !refused::for_good() {
            return Err(last("fallocate(FALLOC_FL_PUNCH_HOLE)"));
        }
        refused::note(Call::PunchHole);
    }
    // SAFETY: a range of the arena's mapping whose content nobody needs any more.
    let done = unsafe { libc::madvise(base.wrapping_add(offset).cast(), len, libc::MADV_REMOVE) };
    if done == 0 {
        Ok(())
    } else {
        zero(fd, offset, len)
    }
}

/// Makes a range read as zero. Only what isn't zero is written, so that no page is made:
/// there may be no memory for it.
fn zero(fd: c_int, offset: usize, len: usize) -> Result<()> {
    const NOTHING: [u8; PAGE] = [0; PAGE];
    let mut page = [0u8; PAGE];
    let end = (offset + len).min(super::file_size(fd)? as usize);
    let mut at = offset;
    while at < end {
        let size = PAGE.min(end - at);
        // SAFETY: `page` has room for `size` bytes.
        let got = unsafe { libc::pread(fd, page.as_mut_ptr().cast(), size, at as i64) };
        if got != size as isize {
            return Err(last("pread"));
        }
        if page[..size] != NOTHING[..size] {
            // SAFETY: `NOTHING` has `size` bytes.
            let put = unsafe { libc::pwrite(fd, NOTHING.as_ptr().cast(), size, at as i64) };
            if put != size as isize {
                return Err(last("pwrite"));
            }
        }
        at += size;
    }
    Ok(())
}

/// The processes, as far as this one may see them, that have a file of this descriptor's
/// mapped. For rare moments: it looks at every process of the machine.
///
/// # Errors
/// When the file or `/proc` cannot be read.
pub fn mapped_by(fd: c_int) -> Result<Vec<u32>> {
    let failed = |call| {
        move |error: std::io::Error| Error::Os {
            call,
            errno: error.raw_os_error().unwrap_or(libc::EIO),
        }
    };
    // SAFETY: all zeroes is a stat.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a writable stat.
    if unsafe { libc::fstat(fd, &mut stat) } != 0 {
        return Err(failed("fstat")(std::io::Error::last_os_error()));
    }
    let inode = stat.st_ino.to_string();
    let device = format!(
        "{:02x}:{:02x}",
        libc::major(stat.st_dev),
        libc::minor(stat.st_dev)
    );
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(failed("open"))? {
        let Some(pid) = entry
            .ok()
            .and_then(|entry| entry.file_name().to_str()?.parse().ok())
        else {
            continue;
        };
        // Another user's, or one that has just ended.
        let Ok(maps) = std::fs::read_to_string(format!("/proc/{pid}/maps")) else {
            continue;
        };
        let ours = |line: &str| {
            let mut fields = line.split_ascii_whitespace().skip(3);
            fields.next() == Some(device.as_str()) && fields.next() == Some(inode.as_str())
        };
        if maps.lines().any(ours) {
            found.push(pid);
        }
    }
    Ok(found)
}

//! What the kernel knows of the pages of this process.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use super::{PAGE, last};
use crate::error::Result;

/// In an entry of `/proc/self/pagemap`: the page is in memory.
const PRESENT: u64 = 1 << 63;
/// The page is in the swap area.
const SWAPPED: u64 = 1 << 62;
/// The page is a file's, or shared memory; not one of this process's own.
const FILE: u64 = 1 << 61;
/// Entries that are read at once: 64 KiB, about 32 MiB of memory.
const ENTRIES: usize = 8192;

/// What `PAGEMAP_SCAN` is asked (`linux/fs.h`, since 6.7).
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

const PAGEMAP_SCAN: libc::c_ulong = 0xc060_6610;
const IS_FILE: u64 = 1 << 2;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;

/// Whether this process has written to one of the pages of a private mapping of a file that
/// have a byte of `[start, start + len)`: they are its own then, and no longer the file's.
///
/// # Errors
/// Where the kernel doesn't say, as in some sandboxes.
pub fn is_written(start: usize, len: usize) -> Result<bool> {
    let map = File::open("/proc/self/pagemap").map_err(|_| last("open(/proc/self/pagemap)"))?;
    let (page, end) = (start / PAGE, (start + len).div_ceil(PAGE));
    match scan(&map, page, end) {
        Some(found) => Ok(found),
        None => read(&map, page, end),
    }
}

/// Has the kernel look: 12 ms for 1 GB. `None` where it can't.
fn scan(map: &File, page: usize, end: usize) -> Option<bool> {
    // Start, end and categories of the first stretch of such pages.
    let mut region = [0u64; 3];
    let mut scan = Scan {
        size: size_of::<Scan>() as u64,
        start: (page * PAGE) as u64,
        end: (end * PAGE) as u64,
        vec: region.as_mut_ptr().expose_provenance() as u64,
        vec_len: 1,
        max_pages: 1,
        category_inverted: IS_FILE,
        category_mask: IS_FILE,
        category_anyof_mask: IS_PRESENT | IS_SWAPPED,
        return_mask: IS_PRESENT,
        ..Scan::default()
    };
    // SAFETY: the kernel reads and writes `scan`, and `region`, which it names: both live for
    // the call and have these sizes.
    let found = unsafe { libc::ioctl(map.as_raw_fd(), PAGEMAP_SCAN, &raw mut scan) };
    (found >= 0).then_some(found > 0)
}

/// Looks at an entry for each page: 25 ms for 1 GB, a tenth of a copy.
fn read(map: &File, mut page: usize, end: usize) -> Result<bool> {
    let mut bytes = vec![0; 8 * ENTRIES.min(end - page)];
    while page < end {
        let size = 8 * ENTRIES.min(end - page);
        map.read_exact_at(&mut bytes[..size], 8 * page as u64)
            .map_err(|_| last("read(/proc/self/pagemap)"))?;
        let (entries, _) = bytes[..size].as_chunks();
        let own = |&entry: &[u8; 8]| {
            let entry = u64::from_ne_bytes(entry);
            entry & (PRESENT | SWAPPED) != 0 && entry & FILE == 0
        };
        if entries.iter().any(own) {
            return Ok(true);
        }
        page += size / 8;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways say the same, of pages that are not there, read, and written.
    #[test]
    fn both_ways_agree() {
        let fd = super::super::anonymous(c"test").unwrap();
        let len = 64 * PAGE;
        super::super::fix_length(fd, len).unwrap();
        // SAFETY: plain integers.
        assert_eq!(unsafe { libc::ftruncate(fd, len as i64) }, 0);
        let base = super::super::map_private(fd, 0, len).unwrap();
        let map = File::open("/proc/self/pagemap").unwrap();
        let first = base.addr() / PAGE;
        let check = |from: usize, to: usize, written: bool| {
            let (page, end) = (first + from, first + to);
            assert_eq!(read(&map, page, end), Ok(written), "{from} to {to}");
            if let Some(found) = scan(&map, page, end) {
                assert_eq!(found, written, "{from} to {to}");
            }
        };
        check(0, 64, false);
        for page in 0..64 {
            // SAFETY: inside the mapping.
            unsafe { base.add(page * PAGE).read_volatile() };
        }
        check(0, 64, false);
        // SAFETY: inside the mapping.
        unsafe { base.add(33 * PAGE).write_volatile(1) };
        check(0, 64, true);
        check(33, 34, true);
        check(0, 33, false);
        check(34, 64, false);
        super::super::unmap(base, len);
        super::super::close(fd);
    }
}

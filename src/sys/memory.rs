//! Memory of the process: pages of the program that are mapped but not needed.

#![expect(unsafe_code, reason = "the dynamic linker's list of what is loaded, and madvise(2) on it")]

use std::ffi::{c_int, c_void};

use nix::libc::{MADV_DONTNEED, PF_W, PT_LOAD, dl_iterate_phdr, dl_phdr_info, madvise, size_t};

/// Unmaps the code and the constants of the program and its libraries. Each page is mapped again when it is next used,
/// from the page cache as long as the kernel keeps it there, so that what only the start needs is not counted as the
/// process's memory for the rest of its life.
///
/// A debugger's breakpoints are changes to code that would be lost: under one nothing is done.
pub(crate) fn unmap_unchanging() {
    if is_traced() {
        return;
    }
    // SAFETY: the callback keeps nothing of what it is passed. The pages of a segment without PF_W are those of its file,
    // in which the dynamic linker has changed nothing, since it relocates only what is writable at first; so dropping
    // them loses nothing: madvise(2), MADV_DONTNEED for private mappings of a file.
    unsafe { dl_iterate_phdr(Some(unmap), std::ptr::null_mut()) };
}

/// Whether a debugger holds the process: `TracerPid` of `proc_pid_status(5)`.
fn is_traced() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    !status.lines().any(|line| line == "TracerPid:\t0")
}

/// Unmaps one object's segments that were never writable.
extern "C" fn unmap(object: *mut dl_phdr_info, _size: size_t, _context: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr(3) passes a description that is valid during the call.
    let object = unsafe { &*object };
    let base = object.dlpi_addr;
    // SAFETY: so many headers are there, and they belong to an object that stays loaded.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
    let mask = rustix::param::page_size() - 1;
    let address = |offset| usize::try_from(base + offset).unwrap_or_default();
    for header in headers.iter().filter(|header| header.p_type == PT_LOAD && header.p_flags & PF_W == 0) {
        let begin = address(header.p_vaddr) & !mask;
        let length = address(header.p_vaddr + header.p_memsz) - begin;
        let begin = std::ptr::without_provenance_mut(begin);
        // SAFETY: the range is a segment of a loaded object, see above. What cannot be unmapped, as the vDSO, stays.
        unsafe { madvise(begin, length, MADV_DONTNEED) };
    }
    0
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::unmap_unchanging;

    /// KiB of this program's code that are mapped: `proc_pid_smaps(5)`.
    fn mapped_code() -> u64 {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let own = fs::read_link("/proc/self/exe").unwrap();
        let mut lines = smaps.lines();
        lines.find(|line| line.contains(" r-xp ") && line.ends_with(own.to_str().unwrap())).unwrap();
        let size = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        size.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn program_goes_on_with_fewer_pages_mapped() {
        let text = fs::read_to_string("/proc/self/maps").unwrap();
        let begun: Vec<String> = text.lines().map(str::to_uppercase).collect();
        let before = mapped_code();
        unmap_unchanging();
        let after = mapped_code();
        assert!(after < before, "{before} KiB before, {after} KiB after");
        assert_eq!(text.lines().map(str::to_uppercase).collect::<Vec<_>>(), begun);
    }
}

//! Texts and names that most hosts and most connections have: programs of operating systems, browsers, media types, and the
//! words of protocols.

use crate::intel::expression::Expression;

/// The shortest text or name that may be an indicator alone, in bytes.
const MIN_LENGTH: usize = 8;

/// In lower case; shorter ones need no entry.
const COMMON: [&str; 87] = [
    "administrator",
    "amazon-02",
    "amazon.com, inc.",
    "application/gzip",
    "application/javascript",
    "application/json",
    "application/msword",
    "application/octet-stream",
    "application/pdf",
    "application/vnd.microsoft.portable-executable",
    "application/x-dosexec",
    "application/x-executable",
    "application/x-msdownload",
    "application/xml",
    "application/zip",
    "bootstrap",
    "c:\\windows",
    "c:\\windows\\system32",
    "certutil.exe",
    "chrome.exe",
    "cloudflare, inc.",
    "cloudflarenet",
    "computer",
    "conhost.exe",
    "connection",
    "control.exe",
    "cscript.exe",
    "dllhost.exe",
    "document",
    "ecdsa-with-sha256",
    "excel.exe",
    "explorer.exe",
    "firefox.exe",
    "google llc",
    "http/1.0",
    "http/1.1",
    "https://",
    "id-ecpublickey",
    "iexplore.exe",
    "image/gif",
    "image/jpeg",
    "image/png",
    "index.html",
    "index.php",
    "install.exe",
    "invoice.pdf",
    "kernel32.dll",
    "localhost",
    "lsass.exe",
    "microsoft corporation",
    "microsoft-corp-msn-as-block",
    "mozilla/4.0",
    "mozilla/5.0",
    "msedge.exe",
    "mshta.exe",
    "msiexec.exe",
    "multipart/form-data",
    "notepad.exe",
    "outlook.exe",
    "powershell",
    "powershell.exe",
    "python.exe",
    "readme.txt",
    "regsvr32.exe",
    "rsaencryption",
    "rundll32.exe",
    "schtasks.exe",
    "services.exe",
    "setup.exe",
    "sha1withrsaencryption",
    "sha256-rsa",
    "sha256withrsaencryption",
    "spoolsv.exe",
    "svchost.exe",
    "system32",
    "systemd-resolved",
    "taskhostw.exe",
    "text/html",
    "text/plain",
    "text/xml",
    "update.exe",
    "wininit.exe",
    "winlogon.exe",
    "winword.exe",
    "wmiprvse.exe",
    "wscript.exe",
    "www-data",
];

/// Literals of expressions that most values of their kind contain, in lower case.
const COMMON_LITERALS: [&str; 26] = [
    ".com", ".com/", ".dll", ".edu", ".exe", ".gov", ".html", ".info", ".json", ".local", ".net", ".net/", ".org",
    ".org/", ".php", ".txt", "://", ":443", "/api", "http", "http:", "http://", "https", "https:", "https://", "www.",
];

/// Whether nothing but a common text is in every value that an expression matches.
pub(super) fn is_common_expression(expression: &Expression) -> bool {
    let is_common = |literal: &Vec<u8>| {
        let literal = String::from_utf8_lossy(literal).to_lowercase();
        COMMON_LITERALS.contains(&literal.as_str()) || COMMON.contains(&literal.as_str())
    };
    expression.literals().is_ok_and(|literals| literals.iter().any(is_common))
}

/// Whether a text or name is too short or too common to be an indicator alone.
pub(super) fn is_common(text: &str) -> bool {
    text.len() < MIN_LENGTH || COMMON.contains(&text.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_lower_case_and_there_once() {
        for (at, entry) in COMMON.iter().enumerate() {
            assert_eq!(*entry, entry.to_lowercase());
            assert!(!COMMON[..at].contains(entry), "{entry}");
        }
        assert!(is_common("SVCHOST.exe") && is_common("short") && !is_common("evil-loader.exe"));
    }
}

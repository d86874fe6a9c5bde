//! Packs the files a browser gets: each with gzip, as most of them are sent, and the OpenAPI document as
//! JSON besides. What is embedded is a third of what it unpacks to.

use std::error::Error;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// Folders of files, below `src`.
const FOLDERS: [&str; 2] = ["page", "doc"];
/// Documents both services are held to.
const DOCUMENTS: [&str; 2] = ["openapi.yaml", "asyncapi.yaml"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    for folder in FOLDERS {
        let folder = Path::new("src").join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        pack_folder(&folder, &out)?;
    }
    for name in DOCUMENTS {
        let path = Path::new("../shared").join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        pack(&fs::read(path)?, &out, Path::new(name))?;
    }
    let schema: serde_json::Value = serde_saphyr::from_str(&fs::read_to_string("../shared/openapi.yaml")?)?;
    pack(&serde_json::to_vec(&schema)?, &out, Path::new("openapi.json"))
}

fn pack_folder(folder: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name() == Some(OsStr::new("tests")) {
            continue;
        }
        if path.is_dir() {
            pack_folder(&path, out)?;
        } else {
            pack(&fs::read(&path)?, out, path.strip_prefix("src")?)?;
        }
    }
    Ok(())
}

fn pack(content: &[u8], out: &Path, name: &Path) -> Result<(), Box<dyn Error>> {
    let mut target = out.join(name).into_os_string();
    target.push(".gz");
    let target = PathBuf::from(target);
    fs::create_dir_all(target.parent().unwrap_or(out))?;
    let mut packed = GzEncoder::new(File::create(target)?, Compression::best());
    packed.write_all(content)?;
    packed.finish()?;
    Ok(())
}

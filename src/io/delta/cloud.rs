//! Lakehouses at `s3://` and `abfss://` URLs: conditional writes take the place of hard links.
//!
//! Credentials come from the environment or the machine's identity, as the providers' own tools read them.

use std::sync::Arc;

use deltalake::logstore::object_store::aws::AmazonS3Builder;
use deltalake::logstore::object_store::azure::MicrosoftAzureBuilder;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreFactory, ObjectStoreRef, StorageConfig, default_logstore,
    logstore_factories, object_store_factories,
};
use deltalake::{DeltaResult, DeltaTableError};
use url::Url;

/// The schemes that can be opened.
const SCHEMES: [&str; 4] = ["s3", "s3a", "abfs", "abfss"];

/// Makes the schemes known to this process. Doing it again changes nothing.
///
/// The stock crates for it would bring some fifty others; the store itself is compiled in either way (`crates.md` §A9).
pub(super) fn register() {
    for scheme in SCHEMES {
        let scheme = Url::parse(&format!("{scheme}://")).expect("a constant URL");
        object_store_factories().insert(scheme.clone(), Arc::new(CloudFactory));
        logstore_factories().insert(scheme, Arc::new(CloudFactory));
    }
}

/// Whether a URL has a scheme that can be opened.
pub(super) fn knows(url: &Url) -> bool {
    SCHEMES.contains(&url.scheme())
}

struct CloudFactory;

impl ObjectStoreFactory for CloudFactory {
    fn parse_url_opts(&self, url: &Url, _config: &StorageConfig) -> DeltaResult<(ObjectStoreRef, Path)> {
        let path = Path::from_url_path(url.path())
            .map_err(|_| DeltaTableError::InvalidTableLocation(url.to_string()))?;
        let store: ObjectStoreRef = match url.scheme() {
            "s3" | "s3a" => Arc::new(AmazonS3Builder::from_env().with_url(url.as_str()).build()?),
            _ => Arc::new(MicrosoftAzureBuilder::from_env().with_url(url.as_str()).build()?),
        };
        Ok((store, path))
    }
}

impl LogStoreFactory for CloudFactory {
    fn with_options(
        &self,
        prefixed_store: ObjectStoreRef,
        root_store: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(prefixed_store, root_store, location, options))
    }
}

//! A component that is compiled, mapped and linked, shared by its instances.

use crate::bindings::OperatorPre;
use crate::error::Error;
use crate::imports::{Interface, Surface};
use crate::options::Grants;
use crate::store::StoreData;
use heddle_model::failure::ErrorCode;
use heddle_model::id::BlobKey;
use std::sync::{Arc, OnceLock};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component as Code, Linker};

/// A component that is ready to be instantiated. Cheap to clone; the code is
/// unmapped when the last clone is gone.
#[derive(Clone)]
pub struct Component {
    pub(crate) loaded: Arc<Loaded>,
}

impl Component {
    /// The content address of the bytes that it was loaded from.
    pub fn key(&self) -> BlobKey {
        self.loaded.key
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component").field("key", &self.loaded.key).finish_non_exhaustive()
    }
}

/// The mapped code, and one linked form for each kind of WASI.
pub(crate) struct Loaded {
    pub key: BlobKey,
    pub surface: Surface,
    code: Code,
    linked: [OnceLock<OperatorPre<StoreData>>; Linkers::COUNT],
}

impl Loaded {
    pub(crate) fn new(engine: &Engine, key: BlobKey, code: Code) -> Self {
        let surface = surface_of(engine, &code);
        Self { key, surface, code, linked: Default::default() }
    }

    /// Links the component's imports, once for each form of WASI.
    pub(crate) fn link(&self, linkers: &Linkers, grants: &Grants) -> Result<&OperatorPre<StoreData>, Error> {
        let index = Linkers::index(grants);
        if let Some(linked) = self.linked[index].get() {
            return Ok(linked);
        }
        let pre =
            linkers.0[index].instantiate_pre(&self.code).and_then(OperatorPre::new).map_err(|error| {
                let cause = crate::guest_log::clean(&crate::guest_log::cut(&format!("{error:#}"), 500));
                Error::new(
                    ErrorCode::ComponentWorld,
                    format!(
                        "the component does not fit version 0.1.0 of heddle:operator ({cause}): \
                         build it with the SDK of this version"
                    ),
                )
            })?;
        Ok(self.linked[index].get_or_init(|| pre))
    }
}

/// The linkers for each combination of grants that changes WASI.
pub(crate) struct Linkers([Linker<StoreData>; Linkers::COUNT]);

impl Linkers {
    const COUNT: usize = 4;

    pub(crate) fn new(engine: &Engine) -> wasmtime::Result<Self> {
        let linker = |clocks, random| crate::linker::new_linker(engine, clocks, random);
        Ok(Self([linker(false, false)?, linker(true, false)?, linker(false, true)?, linker(true, true)?]))
    }

    fn index(grants: &Grants) -> usize {
        usize::from(grants.clocks) + 2 * usize::from(grants.random)
    }
}

fn surface_of(engine: &Engine, code: &Code) -> Surface {
    let ty = code.component_type();
    let imports = ty.imports(engine).map(|(name, import)| {
        let functions = match &import.ty {
            ComponentItem::ComponentInstance(instance) => {
                instance.exports(engine).map(|(function, _)| function.to_owned()).collect()
            }
            _ => Vec::new(),
        };
        Interface { name: name.to_owned(), functions }
    });
    Surface {
        imports: imports.collect(),
        exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
    }
}

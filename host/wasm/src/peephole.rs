//! Exchanges instructions of a guest that cost more here than they should:
//! `memory.copy`, which cranelift compiles into a call of the host, although
//! strings and records are short; and calls of functions that do nothing, of
//! which Rust makes one for every allocation. Runs before compilation; knows
//! nothing of wasmtime.
//!
//! Instructions are exchanged for others of the same length and a function is
//! added behind the last one, so that the lines of the debug information and
//! the names of functions stay true.

use std::collections::HashSet;
use std::ops::Range;
use wasm_encoder::{BlockType, Encode, Function, MemArg, ValType};
use wasmparser::{
    BinaryReader, BinaryReaderError, CodeSectionReader, CompositeInnerType, FunctionSectionReader,
    ImportSectionReader, Operator, TypeRef, TypeSectionReader,
};

type Result<T> = std::result::Result<T, BinaryReaderError>;

/// Lengths up to this many bytes are copied without the host.
const SHORT: i32 = 64;

/// Length of the preamble of a module and of a component.
const PREAMBLE: usize = 8;
const MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Section ids of a component.
const NESTED_MODULE: u8 = 1;
const NESTED_COMPONENT: u8 = 4;

/// Section ids of a module.
const TYPES: u8 = 1;
const IMPORTS: u8 = 2;
const FUNCTIONS: u8 = 3;
const CODE: u8 = 10;

/// `memory.copy` within the first memory, as linkers write it.
const COPY: [u8; 4] = [0xFC, 0x0A, 0, 0];
/// `call`, and how many functions its index can name in the bytes left.
const CALL: u8 = 0x10;
const INDICES: u32 = 1 << 21;
const NOP: u8 = 0x01;

/// A function of three numbers that returns nothing.
const TYPE: [u8; 6] = [0x60, 3, 0x7F, 0x7F, 0x7F, 0];

/// Modules in components in components: composed ones are not deeper.
const DEPTH: u32 = 16;

/// The component with its instructions exchanged, or an error where it is
/// damaged: compiling it says that better.
pub(crate) fn exchange(binary: &[u8]) -> Result<Vec<u8>> {
    exchange_at(binary, 0)
}

fn exchange_at(binary: &[u8], depth: u32) -> Result<Vec<u8>> {
    if binary.starts_with(MODULE) {
        return Ok(exchange_in_module(binary)?.unwrap_or_else(|| binary.to_vec()));
    }
    let mut out = binary[..PREAMBLE.min(binary.len())].to_vec();
    for (id, content) in sections(binary)? {
        match id {
            NESTED_MODULE | NESTED_COMPONENT if depth < DEPTH => {
                put_section(id, &exchange_at(content, depth + 1)?, &mut out);
            }
            _ => put_section(id, content, &mut out),
        }
    }
    Ok(out)
}

fn sections(binary: &[u8]) -> Result<Vec<(u8, &[u8])>> {
    let mut reader = BinaryReader::new(binary, 0);
    reader.read_bytes(PREAMBLE)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8()?;
        let length = reader.read_var_u32()? as usize;
        sections.push((id, reader.read_bytes(length)?));
    }
    Ok(sections)
}

fn put_section(id: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(id);
    content.encode(out);
}

/// None: there is nothing to exchange.
fn exchange_in_module(module: &[u8]) -> Result<Option<Vec<u8>>> {
    let sections = sections(module)?;
    let find = |wanted| sections.iter().find(|(id, _)| *id == wanted).map(|(_, content)| *content);
    let (Some(types), Some(functions), Some(code)) = (find(TYPES), find(FUNCTIONS), find(CODE)) else {
        return Ok(None);
    };
    let types_known = types_of(types)?;
    let imported = imported_functions(find(IMPORTS))?;
    let function_types: Vec<u32> =
        FunctionSectionReader::new(BinaryReader::new(functions, 0))?.into_iter().collect::<Result<_>>()?;
    let found = find_instructions(code, imported, |function| {
        function_types.get(function).is_some_and(|ty| types_known.nothing.contains(ty))
    })?;
    if found.copies.is_empty() && found.calls.is_empty() {
        return Ok(None);
    }
    let mut new_code = code.to_vec();
    for call in found.calls {
        new_code[call].fill(NOP);
    }
    let index = imported.saturating_add(function_types.len() as u32);
    let mut added = None;
    if !found.copies.is_empty() && index < INDICES {
        let call = [CALL, index as u8 | 0x80, (index >> 7) as u8 | 0x80, (index >> 14) as u8];
        let mut calling = new_code.clone();
        for at in found.copies {
            calling[at..at + call.len()].copy_from_slice(&call);
        }
        added = add_short_copy(types, &types_known, functions, &calling)?;
    }
    let [new_types, new_functions, new_code] =
        added.unwrap_or_else(|| [types.to_vec(), functions.to_vec(), new_code]);
    let mut out = module[..PREAMBLE].to_vec();
    for (id, content) in sections {
        match id {
            TYPES => put_section(id, &new_types, &mut out),
            FUNCTIONS => put_section(id, &new_functions, &mut out),
            CODE => put_section(id, &new_code, &mut out),
            _ => put_section(id, content, &mut out),
        }
    }
    Ok(Some(out))
}

/// The three sections with the function added, if it moves no other.
fn add_short_copy(
    types: &[u8],
    known: &Types,
    functions: &[u8],
    code: &[u8],
) -> Result<Option<[Vec<u8>; 3]>> {
    let new_types = if known.copy.is_some() { Some(types.to_vec()) } else { with_one_more(types, &TYPE)? };
    let mut ty = Vec::new();
    known.copy.unwrap_or(known.count).encode(&mut ty);
    let mut body = Vec::new();
    short_copy().encode(&mut body);
    let (new_functions, new_code) = (with_one_more(functions, &ty)?, with_one_more(code, &body)?);
    Ok(new_types.zip(new_functions).zip(new_code).map(|((types, functions), code)| [types, functions, code]))
}

/// A list with one more item at its end, if the number of items does not get
/// longer by that and no other item moves.
fn with_one_more(list: &[u8], item: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut reader = BinaryReader::new(list, 0);
    let count = u64::from(reader.read_var_u32()?) + 1;
    let length = reader.original_position();
    if count >> (7 * length).min(32) != 0 {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(list.len() + item.len());
    for byte in 0..length {
        let more = if byte + 1 < length { 0x80 } else { 0 };
        out.push((count >> (7 * byte)) as u8 & 0x7F | more);
    }
    out.extend_from_slice(&list[length..]);
    out.extend_from_slice(item);
    Ok(Some(out))
}

fn imported_functions(imports: Option<&[u8]>) -> Result<u32> {
    let Some(imports) = imports else { return Ok(0) };
    let mut count = 0;
    for import in ImportSectionReader::new(BinaryReader::new(imports, 0))?.into_imports() {
        count += u32::from(matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_)));
    }
    Ok(count)
}

/// What matters of a module's types.
#[derive(Default)]
struct Types {
    count: u32,
    /// A function as `TYPE` says.
    copy: Option<u32>,
    /// Functions that take nothing and return nothing.
    nothing: HashSet<u32>,
}

fn types_of(section: &[u8]) -> Result<Types> {
    let mut types = Types::default();
    for group in TypeSectionReader::new(BinaryReader::new(section, 0))? {
        for ty in group?.into_types() {
            if let CompositeInnerType::Func(function) = &ty.composite_type.inner
                && ty.is_final
                && ty.supertype_idx.is_none()
                && !ty.composite_type.shared
                && function.results().is_empty()
            {
                if function.params().is_empty() {
                    types.nothing.insert(types.count);
                } else if function.params() == [wasmparser::ValType::I32; 3] {
                    types.copy.get_or_insert(types.count);
                }
            }
            types.count += 1;
        }
    }
    Ok(types)
}

/// Places in the code section.
#[derive(Default)]
struct Found {
    /// Copies whose length is not a constant; cranelift does well with the
    /// others.
    copies: Vec<usize>,
    /// Calls of functions that do nothing.
    calls: Vec<Range<usize>>,
}

/// Looks at all functions; `takes_nothing` says of a defined one that it has
/// neither parameters nor results.
fn find_instructions(code: &[u8], imported: u32, takes_nothing: impl Fn(usize) -> bool) -> Result<Found> {
    let bodies: Vec<_> =
        CodeSectionReader::new(BinaryReader::new(code, 0))?.into_iter().collect::<Result<_>>()?;
    let mut empty = HashSet::new();
    for (index, body) in bodies.iter().enumerate() {
        // Without optimisation, the end has a `return` before it.
        let first = body.get_operators_reader()?.read()?;
        if takes_nothing(index) && matches!(first, Operator::End | Operator::Return) {
            empty.insert(imported.saturating_add(index as u32));
        }
    }
    let mut found = Found::default();
    for body in bodies {
        let mut constant = false;
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            let (operator, at) = operators.read_with_offset()?;
            match operator {
                Operator::MemoryCopy { dst_mem: 0, src_mem: 0 }
                    if !constant && code[at..].starts_with(&COPY) =>
                {
                    found.copies.push(at);
                }
                Operator::Call { function_index } if empty.contains(&function_index) => {
                    found.calls.push(at..operators.original_position());
                }
                _ => {}
            }
            constant = matches!(operator, Operator::I32Const { .. });
        }
    }
    Ok(found)
}

/// The function: parameters as `memory.copy` has them, to, from and length.
/// All is read before anything is written, so that the two may overlap. What
/// lies outside of the memory traps, as it does with the instruction.
fn short_copy() -> Function {
    const TO: u32 = 0;
    const FROM: u32 = 1;
    const LENGTH: u32 = 2;
    const WIDE: u32 = 3;
    const WORDS: u32 = 7;
    const SMALL: u32 = 9;
    let at = |offset: u64| MemArg { offset, align: 0, memory_index: 0 };
    let mut function = Function::new([(4, ValType::V128), (2, ValType::I64), (3, ValType::I32)]);
    let mut code = function.instructions();

    // 17 to 64 bytes, in pieces of sixteen from both ends.
    code.local_get(LENGTH).i32_const(17).i32_sub().i32_const(SHORT - 16).i32_lt_u();
    code.if_(BlockType::Empty);
    {
        code.local_get(FROM).v128_load(at(0)).local_set(WIDE);
        code.local_get(FROM).local_get(LENGTH).i32_add().local_tee(SMALL);
        code.i32_const(16).i32_sub().v128_load(at(0)).local_set(WIDE + 1);
        code.local_get(TO).local_get(LENGTH).i32_add().local_set(SMALL + 1);
        code.local_get(LENGTH).i32_const(32).i32_gt_u();
        code.if_(BlockType::Empty);
        {
            code.local_get(FROM).v128_load(at(16)).local_set(WIDE + 2);
            code.local_get(SMALL).i32_const(32).i32_sub().v128_load(at(0)).local_set(WIDE + 3);
            code.local_get(TO).local_get(WIDE + 2).v128_store(at(16));
            code.local_get(SMALL + 1).i32_const(32).i32_sub().local_get(WIDE + 3).v128_store(at(0));
        }
        code.end();
        code.local_get(TO).local_get(WIDE).v128_store(at(0));
        code.local_get(SMALL + 1).i32_const(16).i32_sub().local_get(WIDE + 1).v128_store(at(0));
        code.return_();
    }
    code.end();

    // 8 to 16.
    code.local_get(LENGTH).i32_const(8).i32_sub().i32_const(9).i32_lt_u();
    code.if_(BlockType::Empty);
    {
        code.local_get(FROM).i64_load(at(0)).local_set(WORDS);
        code.local_get(FROM).local_get(LENGTH).i32_add().i32_const(8).i32_sub();
        code.i64_load(at(0)).local_set(WORDS + 1);
        code.local_get(TO).local_get(WORDS).i64_store(at(0));
        code.local_get(TO).local_get(LENGTH).i32_add().i32_const(8).i32_sub();
        code.local_get(WORDS + 1).i64_store(at(0));
        code.return_();
    }
    code.end();

    // 4 to 7.
    code.local_get(LENGTH).i32_const(4).i32_sub().i32_const(4).i32_lt_u();
    code.if_(BlockType::Empty);
    {
        code.local_get(FROM).i32_load(at(0)).local_set(SMALL);
        code.local_get(FROM).local_get(LENGTH).i32_add().i32_const(4).i32_sub();
        code.i32_load(at(0)).local_set(SMALL + 1);
        code.local_get(TO).local_get(SMALL).i32_store(at(0));
        code.local_get(TO).local_get(LENGTH).i32_add().i32_const(4).i32_sub();
        code.local_get(SMALL + 1).i32_store(at(0));
        code.return_();
    }
    code.end();

    // 1 to 3: the first, the one in the middle, the last.
    code.local_get(LENGTH).i32_const(1).i32_sub().i32_const(3).i32_lt_u();
    code.if_(BlockType::Empty);
    {
        code.local_get(FROM).i32_load8_u(at(0)).local_set(SMALL);
        code.local_get(FROM).local_get(LENGTH).i32_const(1).i32_shr_u().i32_add();
        code.i32_load8_u(at(0)).local_set(SMALL + 1);
        code.local_get(FROM).local_get(LENGTH).i32_add().i32_const(1).i32_sub();
        code.i32_load8_u(at(0)).local_set(SMALL + 2);
        code.local_get(TO).local_get(SMALL).i32_store8(at(0));
        code.local_get(TO).local_get(LENGTH).i32_const(1).i32_shr_u().i32_add();
        code.local_get(SMALL + 1).i32_store8(at(0));
        code.local_get(TO).local_get(LENGTH).i32_add().i32_const(1).i32_sub();
        code.local_get(SMALL + 2).i32_store8(at(0));
        code.return_();
    }
    code.end();

    code.local_get(TO).local_get(FROM).local_get(LENGTH).memory_copy(0, 0);
    code.end();
    function
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmtime::{Engine, Instance, Module, Store, TypedFunc};

    fn module() -> Vec<u8> {
        let text = r#"(module
            (memory (export "memory") 1)
            (func (export "copy") (param $to i32) (param $from i32) (param $length i32)
                (memory.copy (local.get $to) (local.get $from) (local.get $length)))
            (func (param $to i32) (param $from i32)
                (memory.copy (local.get $to) (local.get $from) (i32.const 9))))"#;
        wat::parse_str(text).expect("a module")
    }

    #[test]
    fn copies_of_every_length_and_overlap_are_what_the_instruction_does() {
        let binary = exchange(&module()).expect("a good module");
        assert!(binary != module());
        let engine = Engine::default();
        let module = Module::new(&engine, &binary).expect("a valid module");
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        let memory = instance.get_memory(&mut store, "memory").expect("memory");
        let copy: TypedFunc<(i32, i32, i32), ()> =
            instance.get_typed_func(&mut store, "copy").expect("the function");
        for length in (0..=100).chain([1000]) {
            for (to, from) in
                [(2000, 5000), (5000, 2000), (3000, 3001), (3001, 3000), (3000, 3013), (3020, 3000)]
            {
                let before: Vec<u8> =
                    (0..65536u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
                memory.data_mut(&mut store).copy_from_slice(&before);
                copy.call(&mut store, (to as i32, from as i32, length as i32)).expect("within the memory");
                let mut expected = before;
                expected.copy_within(from..from + length, to);
                assert!(memory.data(&store) == expected, "{length} bytes from {from} to {to}");
            }
        }
        for length in [1, 5, 12, 30, 60, 100] {
            let end = 65536 - length + 1;
            assert!(copy.call(&mut store, (0, end, length)).is_err(), "reads {length} bytes at {end}");
            assert!(copy.call(&mut store, (end, 0, length)).is_err(), "writes {length} bytes at {end}");
            assert!(copy.call(&mut store, (-1, 0, length)).is_err());
        }
    }

    #[test]
    fn only_copies_of_unknown_length_change_and_nothing_moves() {
        let before = module();
        let after = exchange(&before).expect("a good module");
        let code = |binary: &[u8]| {
            let sections = sections(binary).expect("sections");
            sections.iter().find(|(id, _)| *id == CODE).expect("code").1.to_vec()
        };
        let (old, new) = (code(&before), code(&after));
        let places = find_instructions(&old, 0, |_| false).expect("code").copies;
        assert_eq!(places.len(), 1);
        let exchanged = places[0]..places[0] + COPY.len();
        assert!(old[exchanged.clone()] != new[exchanged.clone()]);
        assert!((1..old.len()).all(|at| old[at] == new[at] || exchanged.contains(&at)));
    }

    #[test]
    fn a_type_is_added_where_it_is_missing() {
        let text =
            "(module (memory 1) (func (param i32) (memory.copy (local.get 0) (local.get 0) (local.get 0))))";
        let before = wat::parse_str(text).expect("a module");
        let after = exchange(&before).expect("a good module");
        assert!(after != before);
        wasmparser::validate(&after).expect("a valid module");
    }

    #[test]
    fn calls_of_functions_that_do_nothing_vanish() {
        let text = r#"(module
            (import "m" "f" (func $imported))
            (func $nothing return)
            (func $traps unreachable)
            (func $takes (param i32))
            (func call $imported call $nothing call $traps (call $takes (i32.const 1)) call $nothing))"#;
        let before = wat::parse_str(text).expect("a module");
        let after = exchange(&before).expect("a good module");
        wasmparser::validate(&after).expect("a valid module");
        let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).collect();
        // The second byte of such a call is the number of the function, 1.
        assert_eq!(changed, [(&CALL, &NOP); 2]);
        assert_eq!(before.len(), after.len());
    }

    #[test]
    fn what_is_nested_is_exchanged_too() {
        let text = |inner: &str| format!("(component (component (core module {inner})))");
        let inner = r#"(memory 1) (func (param i32 i32 i32)
            (memory.copy (local.get 0) (local.get 1) (local.get 2)))"#;
        let before = wat::parse_str(text(inner)).expect("a component");
        let after = exchange(&before).expect("a good component");
        assert!(after.len() > before.len());
        wasmparser::validate(&after).expect("a valid component");
        let empty = wat::parse_str(text("")).expect("a component");
        assert_eq!(exchange(&empty).expect("a good component"), empty);
    }

    #[test]
    fn damage_is_an_error() {
        let binary = module();
        for length in 0..binary.len() {
            let _ = exchange(&binary[..length]);
        }
        assert!(exchange(&binary[..binary.len() - 1]).is_err());
    }
}

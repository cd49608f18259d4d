//! Columns of indicators: a dense one of narrow numbers, and sparse ones for what few indicators have.

use super::bytes::{u16_at, u32_at};

/// A number for each indicator, all of the same narrow width.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    at: usize,
    width: usize,
}

impl Dense {
    /// The column in a section; its length says the width.
    pub(super) fn open(section: (usize, usize), indicators: u32) -> Option<Dense> {
        let length = section.1.checked_sub(section.0)?;
        let width = [1, 2, 4].into_iter().find(|width| (indicators as usize).checked_mul(*width) == Some(length))?;
        Some(Dense { at: section.0, width })
    }

    pub(super) fn get(&self, bytes: &[u8], indicator: u32) -> Option<u32> {
        let at = self.at + indicator as usize * self.width;
        match self.width {
            1 => bytes.get(at).map(|byte| u32::from(*byte)),
            2 => u16_at(bytes, at).map(u32::from),
            _ => u32_at(bytes, at),
        }
    }

    /// The section of numbers of which the highest is below `bound`.
    pub(super) fn write(numbers: &[u32], bound: usize) -> Vec<u8> {
        match bound {
            0..=0x100 => numbers.iter().map(|number| *number as u8).collect(),
            0x101..=0x1_0000 => numbers.iter().flat_map(|number| (*number as u16).to_le_bytes()).collect(),
            _ => numbers.iter().flat_map(|number| number.to_le_bytes()).collect(),
        }
    }
}

/// The indicators that have something, ascending; and behind them what they have.
#[derive(Clone, Debug)]
pub(super) struct Sparse {
    numbers: usize,
    count: usize,
    /// Where the values begin, and the section ends.
    values: (usize, usize),
}

impl Sparse {
    /// The column in a section, its numbers checked: they ascend, and are below `indicators`.
    pub(super) fn open(bytes: &[u8], section: (usize, usize), indicators: u32) -> Option<Sparse> {
        let count = u32_at(bytes.get(section.0..section.1)?, 0)? as usize;
        Sparse::of_numbers(section.0 + 4, count, section.1)
            .filter(|sparse| count > 0 && sparse.is_sound(bytes, indicators))
    }

    /// The column of numbers alone.
    pub(super) fn open_numbers(bytes: &[u8], section: (usize, usize), indicators: u32) -> Option<Sparse> {
        let length = section.1.checked_sub(section.0)?;
        let sparse = Sparse::of_numbers(section.0, length / 4, section.1)?;
        (length > 0 && length % 4 == 0 && sparse.is_sound(bytes, indicators)).then_some(sparse)
    }

    fn of_numbers(numbers: usize, count: usize, end: usize) -> Option<Sparse> {
        let values = numbers.checked_add(count.checked_mul(4)?).filter(|values| *values <= end)?;
        Some(Sparse { numbers, count, values: (values, end) })
    }

    fn is_sound(&self, bytes: &[u8], indicators: u32) -> bool {
        let mut numbers = (0..self.count).map(|place| self.number(bytes, place));
        let mut before = None;
        numbers.all(|number| {
            let ascends = number > before && number.is_some_and(|number| number < indicators);
            before = number;
            ascends
        })
    }

    /// The indicator at a place.
    pub(super) fn number(&self, bytes: &[u8], place: usize) -> Option<u32> {
        u32_at(bytes, self.numbers + place * 4)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The place of an indicator among those that have something.
    pub(super) fn place(&self, bytes: &[u8], indicator: u32) -> Option<usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.number(bytes, middle)?.cmp(&indicator) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// The value at a place, when all have one length.
    pub(super) fn fixed<'b>(&self, bytes: &'b [u8], place: usize, length: usize) -> Option<&'b [u8]> {
        let from = self.values.0.checked_add(place.checked_mul(length)?)?;
        bytes.get(self.values.0..self.values.1)?.get(from - self.values.0..)?.get(..length)
    }

    /// Whether the values are so many of this length and nothing else.
    pub(super) fn is_fixed(&self, length: usize) -> bool {
        self.values.1 - self.values.0 == self.count * length
    }

    /// The value at a place, when they lie between offsets.
    pub(super) fn between<'b>(&self, bytes: &'b [u8], place: usize) -> Option<&'b [u8]> {
        let values = bytes.get(self.values.0..self.values.1)?;
        let (from, to) = (u32_at(values, place * 4)? as usize, u32_at(values, place * 4 + 4)? as usize);
        values.get((self.count + 1) * 4..)?.get(from..to)
    }

    /// Whether the offsets begin at 0, do not descend, and end with the section.
    pub(super) fn is_between(&self, bytes: &[u8]) -> bool {
        let Some(values) = bytes.get(self.values.0..self.values.1) else { return false };
        let Some(room) = values.len().checked_sub((self.count + 1) * 4) else { return false };
        let mut before = Some(0);
        let ascend = (0..=self.count).all(|place| {
            let offset = u32_at(values, place * 4);
            let ascends = offset >= before && (place > 0 || offset == Some(0));
            before = offset;
            ascends
        });
        ascend && before == u32::try_from(room).ok()
    }
}

/// A sparse column under construction; indicators come in ascending order.
#[derive(Debug, Default)]
pub(super) struct SparseBuilder {
    numbers: Vec<u32>,
    ends: Vec<u32>,
    values: Vec<u8>,
}

impl SparseBuilder {
    /// Adds what an indicator has. `None`: the values are too long together.
    pub(super) fn push(&mut self, indicator: u32, value: &[u8]) -> Option<()> {
        self.values.extend_from_slice(value);
        self.numbers.push(indicator);
        self.ends.push(u32::try_from(self.values.len()).ok()?);
        Some(())
    }

    /// Records an indicator of which nothing is said but that it is one.
    pub(super) fn push_number(&mut self, indicator: u32) {
        self.numbers.push(indicator);
    }

    /// The section of values of one length.
    pub(super) fn finish_fixed(self) -> Vec<u8> {
        let mut out = self.head();
        out.extend(self.values);
        out
    }

    /// The section of values of any length.
    pub(super) fn finish_between(self) -> Vec<u8> {
        let mut out = self.head();
        std::iter::once(0).chain(self.ends).for_each(|end| out.extend(end.to_le_bytes()));
        out.extend(self.values);
        out
    }

    /// The section of numbers alone.
    pub(super) fn finish_numbers(self) -> Vec<u8> {
        self.numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn head(&self) -> Vec<u8> {
        if self.numbers.is_empty() {
            return Vec::new();
        }
        std::iter::once(self.numbers.len() as u32)
            .chain(self.numbers.iter().copied())
            .flat_map(u32::to_le_bytes)
            .collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }
}

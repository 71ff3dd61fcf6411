//! Where the boxes and arrows of a plan's picture stand: layers from the
//! sources down, an order within each that crosses few arrows, and routes
//! between the layers. Knows sizes and labels only, and draws nothing.

use std::collections::{BTreeMap, BTreeSet};

/// Free columns between two neighbours of a layer.
const GAP: usize = 4;
/// Passes of the order and of the positions; more change nothing in practice.
const PASSES: usize = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub width: usize,
    pub height: usize,
}

/// An arrow; boxes stand upstream first, so `from` is below `to`.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub from: usize,
    pub to: usize,
    pub label: String,
}

/// Something to draw, in the order of drawing.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    Box { index: usize, left: usize, top: usize, width: usize, out_ports: Vec<usize> },
    Vertical { column: usize, from: usize, to: usize },
    Horizontal { row: usize, from: usize, to: usize },
    Arrow { column: usize, row: usize },
    Label { column: usize, row: usize, text: String },
}

pub(crate) struct Layout {
    pub width: usize,
    pub height: usize,
    pub shapes: Vec<Shape>,
}

/// A box, or the place where a long arrow passes a layer.
struct Item {
    index: Option<usize>,
    width: usize,
    height: usize,
    left: i64,
}

impl Item {
    fn center(&self) -> i64 {
        self.left + self.width as i64 / 2
    }
}

/// A part of an arrow between two neighbouring layers.
struct Segment {
    upper: usize,
    lower: usize,
    /// With the last part only.
    label: Option<String>,
}

struct Grid {
    items: Vec<Item>,
    /// Items of each layer, from left to right.
    layers: Vec<Vec<usize>>,
    /// Below each layer.
    segments: Vec<Vec<Segment>>,
}

impl Layout {
    pub fn new(sizes: &[Size], links: &[Link]) -> Layout {
        let mut grid = Grid::new(sizes, links);
        grid.order();
        grid.place();
        grid.draw()
    }
}

impl Grid {
    fn new(sizes: &[Size], links: &[Link]) -> Grid {
        let layer_of = layer_of_boxes(sizes.len(), links);
        let count = layer_of.iter().max().map_or(0, |last| last + 1);
        let mut items = Vec::new();
        let mut layers = vec![Vec::new(); count];
        for (index, size) in sizes.iter().enumerate() {
            // Each arrow that ends here gets a slot with its label beside it.
            let into: Vec<_> = links.iter().filter(|link| link.to == index).collect();
            let labels: usize = into.iter().map(|link| slot_width(&link.label)).sum();
            let needed = if into.len() == 1 { 2 * labels + 2 } else { labels + 2 };
            let out = links.iter().filter(|link| link.from == index).count();
            let width = size.width.max(needed).max(2 * out + 3);
            items.push(Item { index: Some(index), width, height: size.height, left: 0 });
            layers[layer_of[index]].push(index);
        }
        let mut segments: Vec<Vec<Segment>> = (0..count).map(|_| Vec::new()).collect();
        for link in links {
            let mut upper = link.from;
            for layer in layer_of[link.from]..layer_of[link.to] {
                let last = layer + 1 == layer_of[link.to];
                let lower = if last { link.to } else { items.len() };
                if !last {
                    layers[layer + 1].push(lower);
                    items.push(Item { index: None, width: 1, height: 1, left: 0 });
                }
                segments[layer].push(Segment { upper, lower, label: last.then(|| link.label.clone()) });
                upper = lower;
            }
        }
        Grid { items, layers, segments }
    }

    /// Orders the items of each layer by where their neighbours stand.
    fn order(&mut self) {
        let mut best = (self.crossings(), self.layers.clone());
        for pass in 0..PASSES {
            let count = self.layers.len();
            if pass % 2 == 0 {
                (1..count).for_each(|layer| self.sort_layer(layer, true));
            } else {
                (0..count.saturating_sub(1)).rev().for_each(|layer| self.sort_layer(layer, false));
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    fn sort_layer(&mut self, layer: usize, by_upper: bool) {
        let other = if by_upper { layer - 1 } else { layer + 1 };
        let place: BTreeMap<_, _> =
            self.layers[other].iter().enumerate().map(|(place, item)| (*item, place)).collect();
        let mut keys: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for segment in &self.segments[layer.min(other)] {
            let (here, there) =
                if by_upper { (segment.lower, segment.upper) } else { (segment.upper, segment.lower) };
            keys.entry(here).or_default().push(place[&there]);
        }
        let own: BTreeMap<_, _> =
            self.layers[layer].iter().enumerate().map(|(place, item)| (*item, place)).collect();
        let key = |item: &usize| match keys.get(item) {
            Some(places) => places.iter().sum::<usize>() as f64 / places.len() as f64,
            None => own[item] as f64,
        };
        self.layers[layer].sort_by(|a, b| key(a).total_cmp(&key(b)));
    }

    fn crossings(&self) -> usize {
        let mut place = vec![0; self.items.len()];
        for layer in &self.layers {
            for (index, item) in layer.iter().enumerate() {
                place[*item] = index;
            }
        }
        let crosses = |a: &Segment, b: &Segment| {
            let upper = place[a.upper].cmp(&place[b.upper]);
            upper.is_ne() && upper == place[b.lower].cmp(&place[a.lower])
        };
        let in_layer = |all: &Vec<Segment>| -> usize {
            all.iter().enumerate().map(|(i, a)| all[..i].iter().filter(|b| crosses(a, b)).count()).sum()
        };
        self.segments.iter().map(in_layer).sum()
    }

    /// Moves each item as near below (or above) its neighbours as the order allows.
    fn place(&mut self) {
        for layer in 0..self.layers.len() {
            self.place_layer(layer, &BTreeMap::new());
        }
        for pass in 0..PASSES + 1 {
            let downward = pass % 2 == 0;
            let count = self.layers.len();
            let order: Vec<usize> =
                if downward { (1..count).collect() } else { (0..count.saturating_sub(1)).rev().collect() };
            for layer in order {
                let mut centers: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
                for segment in &self.segments[if downward { layer - 1 } else { layer }] {
                    let (here, there) = if downward {
                        (segment.lower, segment.upper)
                    } else {
                        (segment.upper, segment.lower)
                    };
                    centers.entry(here).or_default().push(self.items[there].center());
                }
                self.place_layer(layer, &centers);
            }
        }
        let least = self.items.iter().map(|item| item.left).min().unwrap_or(0);
        self.items.iter_mut().for_each(|item| item.left -= least);
    }

    /// Pool adjacent violators: the nearest positions to the wanted ones that
    /// keep the order and the gaps.
    fn place_layer(&mut self, layer: usize, centers: &BTreeMap<usize, Vec<i64>>) {
        let mut offset = 0;
        // Sum of wanted positions, number of items.
        let mut blocks: Vec<(i64, i64)> = Vec::new();
        let mut offsets = Vec::new();
        for id in &self.layers[layer] {
            let item = &self.items[*id];
            let wanted = match centers.get(id) {
                Some(all) => all.iter().sum::<i64>() / all.len() as i64 - item.width as i64 / 2,
                None => item.left,
            };
            blocks.push((wanted - offset, 1));
            offsets.push(offset);
            offset += (item.width + GAP) as i64;
            while let [.., (a, m), (b, n)] = blocks.as_slice()
                && a * n > b * m
            {
                let merged = (a + b, m + n);
                blocks.truncate(blocks.len() - 2);
                blocks.push(merged);
            }
        }
        let starts = blocks.iter().flat_map(|(sum, count)| (0..*count).map(move |_| sum.div_euclid(*count)));
        for ((id, offset), start) in self.layers[layer].iter().zip(offsets).zip(starts) {
            self.items[*id].left = start + offset;
        }
    }

    fn draw(mut self) -> Layout {
        let mut shapes = Vec::new();
        let mut top = 0;
        for layer in 0..self.layers.len() {
            let height = self.layers[layer].iter().map(|item| self.items[*item].height).max().unwrap_or(0);
            let bottom = top + height;
            let routes = self.routes(layer);
            let mut out_ports: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
            for route in &routes {
                out_ports.entry(route.upper).or_default().push(route.from);
            }
            for id in &self.layers[layer] {
                let item = &self.items[*id];
                let left = item.left as usize;
                match item.index {
                    Some(index) => shapes.push(Shape::Box {
                        index,
                        left,
                        top,
                        width: item.width,
                        out_ports: out_ports.get(id).cloned().unwrap_or_default(),
                    }),
                    None => shapes.push(Shape::Vertical { column: left, from: top - 1, to: bottom }),
                }
            }
            let tracks = routes.iter().filter_map(|route| route.track).max().map_or(0, |last| last + 1);
            let arrow_row = bottom + tracks + 1;
            for route in routes {
                // A box may end above the layer's bottom.
                let start = top + self.items[route.upper].height;
                let start = if self.items[route.upper].index.is_some() { start } else { bottom };
                match route.track {
                    None => shapes.push(Shape::Vertical {
                        column: route.from,
                        from: start.saturating_sub(1),
                        to: arrow_row,
                    }),
                    Some(track) => {
                        let row = bottom + track;
                        let (from, to) = (route.from.min(route.to), route.from.max(route.to));
                        let upper_end = start.saturating_sub(1);
                        shapes.push(Shape::Vertical { column: route.from, from: upper_end, to: row });
                        shapes.push(Shape::Horizontal { row, from, to });
                        shapes.push(Shape::Vertical { column: route.to, from: row, to: arrow_row });
                    }
                }
                match route.label {
                    Some(text) => {
                        shapes.push(Shape::Label { column: route.to + 2, row: arrow_row - 1, text });
                        shapes.push(Shape::Arrow { column: route.to, row: arrow_row });
                    }
                    None => {
                        // Meets the line of the place below.
                        shapes.push(Shape::Vertical {
                            column: route.to,
                            from: arrow_row - 1,
                            to: arrow_row + 1,
                        });
                    }
                }
            }
            top = if self.segments[layer].is_empty() { bottom } else { arrow_row + 1 };
        }
        let right = |shape: &Shape| match shape {
            Shape::Box { left, width, .. } => left + width,
            Shape::Label { column, text, .. } => column + text.chars().count(),
            Shape::Vertical { column, .. } | Shape::Arrow { column, .. } => column + 1,
            Shape::Horizontal { to, .. } => to + 1,
        };
        Layout { width: shapes.iter().map(right).max().unwrap_or(0), height: top, shapes }
    }

    /// Columns and tracks of the arrows below a layer. May move the places of
    /// long arrows in the next layer by a few columns.
    fn routes(&mut self, layer: usize) -> Vec<Route> {
        let segments = std::mem::take(&mut self.segments[layer]);
        let mut routes: Vec<Route> = segments
            .iter()
            .map(|s| Route {
                upper: s.upper,
                lower: s.lower,
                from: 0,
                to: 0,
                track: None,
                label: s.label.clone(),
            })
            .collect();
        self.segments[layer] = segments;
        for id in &self.layers[layer] {
            let mut own: Vec<usize> = (0..routes.len()).filter(|r| routes[*r].upper == *id).collect();
            own.sort_by_key(|r| self.items[routes[*r].lower].center());
            let item = &self.items[*id];
            for (index, route) in own.iter().enumerate() {
                let part = (2 * index + 1) * item.width / (2 * own.len());
                routes[*route].from = item.left as usize + part;
            }
        }
        let mut taken = BTreeSet::new();
        let lower = self.layers.get(layer + 1).cloned().unwrap_or_default();
        for id in lower {
            let mut own: Vec<usize> = (0..routes.len()).filter(|r| routes[*r].lower == id).collect();
            own.sort_by_key(|r| routes[*r].from);
            let item = &self.items[id];
            let left = item.left as usize;
            let needed: usize = own.iter().map(|r| routes[*r].slot()).sum();
            let spare = (item.width.saturating_sub(2)).saturating_sub(needed) / own.len().max(1);
            let mut slot = left + 1;
            for r in &own {
                let wide = routes[*r].slot() + spare;
                let range = match item.index {
                    Some(_) => slot..=(slot + wide).saturating_sub(routes[*r].slot()).max(slot),
                    None => left.saturating_sub(GAP / 2 - 1)..=left + GAP / 2 - 1,
                };
                slot += wide;
                let wanted = if item.index.is_some() {
                    routes[*r].from.clamp(*range.start(), *range.end())
                } else {
                    left
                };
                let others: BTreeSet<usize> =
                    (0..routes.len()).filter(|o| o != r).map(|o| routes[o].from).collect();
                let free = |column: &usize| {
                    range.contains(column) && !others.contains(column) && !taken.contains(column)
                };
                let near = (0..=2 * wide.max(GAP)).map(|step| {
                    let distance = step.div_ceil(2);
                    if step % 2 == 0 { wanted.saturating_sub(distance) } else { wanted + distance }
                });
                let column = near.into_iter().find(free).unwrap_or(wanted);
                taken.insert(column);
                routes[*r].to = column;
            }
            if let ([only], None) = (own.as_slice(), self.items[id].index) {
                self.items[id].left = routes[*only].to as i64;
            }
        }
        assign_tracks(&mut routes);
        routes
    }
}

struct Route {
    upper: usize,
    lower: usize,
    /// Column at the upper end, and at the lower.
    from: usize,
    to: usize,
    /// Row of the horizontal part, if there is one.
    track: Option<usize>,
    label: Option<String>,
}

impl Route {
    fn slot(&self) -> usize {
        self.label.as_deref().map_or(1, slot_width)
    }
}

/// Columns of an arrow's end with its label.
fn slot_width(label: &str) -> usize {
    label.chars().count() + 3
}

fn assign_tracks(routes: &mut [Route]) {
    let mut bent: Vec<usize> = (0..routes.len()).filter(|r| routes[*r].from != routes[*r].to).collect();
    // In this order arrows of one direction do not cross each other.
    bent.sort_by_key(|r| {
        let route = &routes[*r];
        if route.to > route.from { (0, -(route.from as i64)) } else { (1, route.from as i64) }
    });
    let mut tracks: Vec<Vec<(usize, usize)>> = Vec::new();
    for r in bent {
        let (low, high) = (routes[r].from.min(routes[r].to), routes[r].from.max(routes[r].to));
        let fits = |track: &Vec<(usize, usize)>| track.iter().all(|(a, b)| high + 1 < *a || *b + 1 < low);
        let track = tracks.iter().position(fits).unwrap_or_else(|| {
            tracks.push(Vec::new());
            tracks.len() - 1
        });
        tracks[track].push((low, high));
        routes[r].track = Some(track);
    }
}

/// The layer of each box: below all that it reads; a source right above what
/// reads it.
fn layer_of_boxes(count: usize, links: &[Link]) -> Vec<usize> {
    let mut layers = vec![0; count];
    for index in 0..count {
        let above = links.iter().filter(|link| link.to == index).map(|link| layers[link.from] + 1);
        layers[index] = above.max().unwrap_or(0);
    }
    for index in 0..count {
        let source = links.iter().all(|link| link.to != index);
        let below = links.iter().filter(|link| link.from == index).map(|link| layers[link.to] - 1);
        if let (true, Some(layer)) = (source, below.min()) {
            layers[index] = layer;
        }
    }
    layers
}

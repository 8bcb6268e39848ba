//! What a whole compilation shares: declarations, globals, the module under construction, diagnostics.

use crate::codes;
use crate::func::FnElab;
use crate::value::{Arr, DeclId, Dim, FIRST_STAND_IN, GenVal, Value};
use crate::{DataShapes, Override};
use ppl_core::{DType, Det, DetId, DistId, Lit, Module, StrategyId, Support};
use ppl_diag::{Diagnostic, FileId, Span, did_you_mean};
use ppl_syntax::ast::{
    Callable, DataDecl, Dist, ExprKind, File, Fit, Item, ItemKind, Let, Literal, Param, PatternKind, Strategy,
};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// A value from outside: what an entry function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Global {
    /// A `data` declaration, by position in [`crate::Program::data`].
    Data(usize),
    /// A parameter, by position in [`crate::Program::params`].
    Param(usize),
    /// A top-level `let` computed from data, by position in [`crate::Program::lets`].
    Let(usize),
}

/// A declaration that is applied to arguments.
#[derive(Clone, Debug)]
pub(crate) enum Decl {
    Gen(Callable),
    Fn(Callable),
    Objective(Callable),
    Dist(Dist),
}

/// What a top-level name stands for.
#[derive(Clone, Debug)]
pub(crate) enum TopName {
    Decl(DeclId),
    Strategy,
    Global(Global),
    Static(Value),
    /// A program that a `let` names: evaluated where it is used.
    Alias(Rc<ppl_syntax::ast::Expr>),
    /// A network, from the call that constructs it.
    Network(Rc<ppl_syntax::ast::Expr>),
    /// A module of the library that the file uses.
    Module(Rc<str>),
    /// A `let` that has not been evaluated yet.
    Pending(usize),
    /// Reported already.
    Error,
}

/// A global's name and type in programs that use it.
#[derive(Clone, Debug)]
pub(crate) struct GlobalInfo {
    pub(crate) name: String,
    pub(crate) arr: Arr,
    pub(crate) support: Support,
    /// Shape of the unconstrained value, for parameters with a constraint.
    pub(crate) unconstrained: Option<Vec<usize>>,
}

/// A declared strategy.
#[derive(Clone, Debug)]
pub(crate) struct StrategyDecl {
    pub(crate) ast: Rc<Strategy>,
    pub(crate) span: Span,
    /// Whether its program takes scores.
    pub(crate) scores: bool,
    /// Whether its program takes densities.
    pub(crate) weighs: bool,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) module: Module,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) decls: Vec<(Rc<Decl>, Span)>,
    pub(crate) names: HashMap<String, (TopName, Span)>,
    /// What the names of the library's own texts stand for: a model's names don't change them.
    library_names: HashMap<String, (TopName, Span)>,
    library_files: HashSet<FileId>,
    /// Declarations of the library's modules, by the module's name.
    modules: HashMap<String, HashMap<String, DeclId>>,
    module_files: HashMap<FileId, Rc<str>>,
    /// Programs whose bodies are being elaborated, by instance.
    pub(crate) active: Vec<String>,
    pub(crate) strategies: Vec<StrategyDecl>,
    pub(crate) fits: Vec<(Rc<Fit>, Span)>,
    pub(crate) data: Vec<crate::DataSpec>,
    pub(crate) data_info: Vec<GlobalInfo>,
    pub(crate) params: Vec<crate::ParamSpec>,
    pub(crate) param_info: Vec<GlobalInfo>,
    pub(crate) lets: Vec<crate::LetSpec>,
    pub(crate) let_info: Vec<GlobalInfo>,
    pending_lets: Vec<(Rc<Let>, Span)>,
    pub(crate) gen_cache: HashMap<String, (GenVal, Vec<Global>)>,
    /// Globals that a generative function takes after its arguments.
    pub(crate) gen_captures: HashMap<u32, Vec<Global>>,
    /// Named sizes of choices, by function and address.
    pub(crate) choice_dims: HashMap<(u32, String), Vec<Dim>>,
    /// First indices of choices whose loops do not start at 0, by function and address.
    pub(crate) choice_starts: HashMap<(u32, String), Vec<i64>>,
    /// Choices that could not be elaborated, by function: their absence is not an error of its own.
    pub(crate) broken: HashMap<u32, Vec<String>>,
    pub(crate) dist_cache: HashMap<String, DistId>,
    /// What each distribution was made from.
    pub(crate) made: HashMap<DistId, crate::divergences::Made>,
    /// Pairs of distributions whose divergence was looked for.
    pub(crate) compared: HashSet<(DistId, DistId)>,
    /// Globals that a strategy takes after its own parameters.
    pub(crate) strategy_captures: HashMap<u32, Vec<Global>>,
    pub(crate) strategy_cache: HashMap<String, Option<StrategyId>>,
    pub(crate) overrides: Vec<Override>,
    pub(crate) continuous: Vec<Span>,
    /// Whether a minibatch is the whole plate, outside of fits.
    pub(crate) whole_plates: bool,
    /// Whether what is elaborated is evaluated after the fit: minibatches then divide the data evenly where they can.
    pub(crate) evaluating: bool,
    /// Whether what is elaborated is a fit's step.
    pub(crate) fitting: bool,
    stand_ins: usize,
    shapes: Option<DataShapes>,
}

impl Session {
    pub(crate) fn new(shapes: Option<DataShapes>, overrides: Vec<Override>) -> Self {
        Session {
            module: Module::default(),
            diagnostics: Vec::new(),
            decls: Vec::new(),
            names: HashMap::new(),
            library_names: HashMap::new(),
            library_files: HashSet::new(),
            modules: HashMap::new(),
            module_files: HashMap::new(),
            active: Vec::new(),
            strategies: Vec::new(),
            fits: Vec::new(),
            data: Vec::new(),
            data_info: Vec::new(),
            params: Vec::new(),
            param_info: Vec::new(),
            lets: Vec::new(),
            let_info: Vec::new(),
            pending_lets: Vec::new(),
            gen_cache: HashMap::new(),
            gen_captures: HashMap::new(),
            choice_dims: HashMap::new(),
            choice_starts: HashMap::new(),
            broken: HashMap::new(),
            dist_cache: HashMap::new(),
            made: HashMap::new(),
            compared: HashSet::new(),
            strategy_captures: HashMap::new(),
            strategy_cache: HashMap::new(),
            overrides,
            continuous: Vec::new(),
            whole_plates: false,
            evaluating: false,
            fitting: false,
            stand_ins: 0,
            shapes,
        }
    }

    /// Adds a diagnostic; the same one (from a second elaboration of the same text) only once.
    pub(crate) fn report(&mut self, d: Diagnostic) {
        let same = |e: &Diagnostic| e == &d || (e.code == d.code && d.span().is_some() && e.span() == d.span());
        if !self.diagnostics.iter().any(same) {
            self.diagnostics.push(d);
        }
    }

    /// Declares the items of `file`. Library files come first and may be redefined by the user's.
    pub(crate) fn declare(&mut self, file: &File, library: bool) {
        if library {
            self.library_files.extend(file.items.iter().map(|i| i.span.file));
        }
        if let Some(module) = &file.module {
            return self.declare_module(module, file);
        }
        for item in &file.items {
            self.declare_item(item, library);
        }
        if library {
            self.library_names = self.names.clone();
        }
    }

    /// Adds a module of the library, whose functions are reached by its name and a dot.
    fn declare_module(&mut self, module: &str, file: &File) {
        let mut members = HashMap::new();
        for item in &file.items {
            let ItemKind::Fn(c) = &item.kind else { continue };
            let id = DeclId(self.decls.len());
            self.decls.push((Rc::new(Decl::Fn(c.clone())), item.span));
            members.insert(c.name.as_str().to_string(), id);
            self.module_files.insert(item.span.file, module.into());
        }
        self.modules.insert(module.to_string(), members);
    }

    /// The module that a place is in.
    pub(crate) fn module_of(&self, span: Span) -> Option<Rc<str>> {
        self.module_files.get(&span.file).cloned()
    }

    /// A function of a module.
    pub(crate) fn module_decl(&self, module: &str, name: &str) -> Option<DeclId> {
        self.modules.get(module)?.get(name).copied()
    }

    /// Says that a module has no such function.
    pub(crate) fn no_member(&self, module: &str, name: &ppl_syntax::ast::Ident) -> Diagnostic {
        let mut all: Vec<&str> = self.modules.get(module).into_iter().flat_map(|m| m.keys().map(String::as_str)).collect();
        all.sort_unstable();
        let d = Diagnostic::error(codes::UNKNOWN_NAME, format!("`{module}` has no function `{name}`"))
            .label(name.span, "unknown name");
        match did_you_mean(name.as_str(), all.iter().copied()) {
            Some(near) => d.help(format!("did you mean `{near}`?")).edit(name.span, near),
            None => d.note(format!("it has {}", all.join(", "))),
        }
    }

    /// Whether a place is in the library's texts.
    pub(crate) fn in_library(&self, span: Span) -> bool {
        self.library_files.contains(&span.file)
    }

    /// What a top-level name stands for in the library's texts, where that is a declaration.
    pub(crate) fn library_decl(&self, name: &str) -> Option<DeclId> {
        match self.library_names.get(name) {
            Some((TopName::Decl(d), _)) => Some(*d),
            _ => None,
        }
    }

    fn declare_item(&mut self, item: &Item, library: bool) {
        match &item.kind {
            ItemKind::Use(path) => {
                let text: Vec<&str> = path.iter().map(|i| i.as_str()).collect();
                let text = text.join(".");
                let known = ["std", "std.math", "std.distributions", "std.strategies", "std.objectives", "std.guides", "std.nn"];
                if let [_, module] = path.as_slice()
                    && text.starts_with("std.")
                    && self.modules.contains_key(module.as_str())
                {
                    self.names.insert(module.as_str().to_string(), (TopName::Module(module.as_str().into()), module.span));
                } else if path.first().is_some_and(|p| p == "std") && !known.contains(&text.as_str()) {
                    let d = Diagnostic::error(codes::UNKNOWN_IMPORT, format!("there is no module `{text}`"))
                        .label(item.span, "not found")
                        .note(format!("modules: {}", known.join(", ")));
                    self.report(d);
                }
            }
            ItemKind::Gen(c) => self.add_decl(c.name.as_str(), Decl::Gen(c.clone()), c.name.span, item.span, library),
            ItemKind::Fn(c) => self.add_decl(c.name.as_str(), Decl::Fn(c.clone()), c.name.span, item.span, library),
            ItemKind::Objective(c) => self.add_decl(c.name.as_str(), Decl::Objective(c.clone()), c.name.span, item.span, library),
            ItemKind::Dist(d) => self.add_decl(d.name.as_str(), Decl::Dist(d.clone()), d.name.span, item.span, library),
            ItemKind::Strategy(s) => {
                let body = ppl_syntax::print_expr(&s.body);
                let (scores, weighs) = (body.contains("score("), body.contains("density("));
                let decl = StrategyDecl { ast: Rc::new(s.clone()), span: item.span, scores, weighs };
                // A user's own strategy is found before the library's.
                if library {
                    self.strategies.push(decl);
                } else {
                    self.strategies.insert(0, decl);
                }
                self.names.entry(s.name.as_str().to_string()).or_insert((TopName::Strategy, item.span));
            }
            ItemKind::Data(decls) => decls.iter().for_each(|d| self.declare_size(d)),
            ItemKind::Fit(f) => self.fits.push((Rc::new((**f).clone()), item.span)),
            ItemKind::Param(_) => {}
            ItemKind::Let(l) => {
                let id = self.pending_lets.len();
                self.pending_lets.push((Rc::new(l.clone()), item.span));
                let mut names = Vec::new();
                pattern_names(&l.pattern.kind, &mut names);
                for (name, span) in names {
                    self.add_name(&name, TopName::Pending(id), span);
                }
            }
        }
    }

    fn add_decl(&mut self, name: &str, decl: Decl, name_span: Span, span: Span, library: bool) {
        let id = DeclId(self.decls.len());
        self.decls.push((Rc::new(decl), span));
        if library {
            self.names.insert(name.to_string(), (TopName::Decl(id), Span::NONE));
        } else {
            self.add_name(name, TopName::Decl(id), name_span);
        }
    }

    /// Adds a user's name: once in a file, but library names may be redefined.
    pub(crate) fn add_name(&mut self, name: &str, what: TopName, span: Span) {
        if let Some((_, first)) = self.names.get(name)
            && *first != Span::NONE
        {
            let first = *first;
            self.report(
                Diagnostic::error(codes::DUPLICATE_NAME, format!("`{name}` is declared twice"))
                    .label(span, "again here")
                    .label(first, "first here")
                    .help("rename one of them"),
            );
            return;
        }
        self.names.insert(name.to_string(), (what, span));
    }

    /// First round over `data`: scalar ints are sizes and known before any type is read.
    fn declare_size(&mut self, d: &DataDecl) {
        if let ppl_syntax::ast::TypeKind::Named { name, dims, .. } = &d.ty.kind
            && dims.is_empty()
            && matches!(name.as_str(), "int" | "natural")
        {
            let known = self.shapes.as_ref().and_then(|s| s.sizes.get(d.name.as_str()).copied());
            let n = known.unwrap_or_else(|| {
                self.stand_ins += 1;
                (FIRST_STAND_IN + 2 * self.stand_ins) as i64
            });
            let arr = Arr { size_name: Some(d.name.as_str().into()), ..Arr::lit(Lit::Int(n)) };
            self.add_name(d.name.as_str(), TopName::Static(Value::Array(arr)), d.name.span);
        }
    }

    /// Second round, after all files are declared: types of data and parameters.
    pub(crate) fn declare_values(&mut self, file: &File) {
        for item in &file.items {
            match &item.kind {
                ItemKind::Data(decls) => decls.iter().for_each(|d| self.declare_data(d)),
                ItemKind::Param(p) => {
                    let name = p.name.as_str().to_string();
                    if let Some(init) = &p.init
                        && p.ty.is_none()
                        && self.constructs(init)
                    {
                        self.declare_network(&name, init, p.name.span);
                    } else if let Some(g) = self.declare_param(&name, p, item.span, None, Vec::new()) {
                        self.add_name(&name, TopName::Global(g), p.name.span);
                    } else {
                        self.add_name(&name, TopName::Error, p.name.span);
                    }
                }
                _ => {}
            }
        }
    }

    /// Third round: top-level `let`s, which may use the data of any file.
    pub(crate) fn declare_lets(&mut self) {
        for i in 0..self.pending_lets.len() {
            self.force_let(i);
        }
    }

    /// `param net = f(..)`, where the call constructs a network.
    fn declare_network(&mut self, name: &str, init: &ppl_syntax::ast::Expr, span: Span) {
        // While it is constructed, its name is an error: a network can't use itself.
        self.add_name(name, TopName::Error, span);
        let mut me = FnElab::<Det>::new(self, "param", 0, false);
        let v = me.constructed(vec![name.to_string()], init);
        let top = match v {
            Value::Error => return,
            v if v.is_network() => TopName::Network(Rc::new(init.clone())),
            v => {
                self.report(
                    Diagnostic::error(codes::WRONG_TYPE, format!("the parameter `{name}` is neither a number nor a network"))
                        .label(init.span, format!("this is {}", v.describe()))
                        .note("a network is a function, or a list of functions, that declare parameters"),
                );
                return;
            }
        };
        self.names.insert(name.to_string(), (top, span));
    }

    /// Whether the initial value of a parameter constructs a network: it is a function, or a call of one that makes functions or declares parameters.
    pub(crate) fn constructs(&self, e: &ppl_syntax::ast::Expr) -> bool {
        let module = self.module_of(e.span);
        self.constructs_within(e, module.as_deref(), &mut HashSet::new())
    }

    fn constructs_within(&self, e: &ppl_syntax::ast::Expr, module: Option<&str>, seen: &mut HashSet<DeclId>) -> bool {
        let decl = match &e.kind {
            ExprKind::Function(_) => return true,
            ExprKind::Name(n) => {
                let member = module.and_then(|m| self.module_decl(m, n.as_str())).map(|d| (d, module));
                let top = || match self.names.get(n.as_str()) {
                    Some((TopName::Decl(d), _)) => Some((*d, None)),
                    _ => None,
                };
                if matches!(self.names.get(n.as_str()), Some((TopName::Network(_), _))) {
                    return true;
                }
                member.or_else(top)
            }
            ExprKind::Field(b, f) => match &b.kind {
                ExprKind::Name(m) => self.module_decl(m.as_str(), f.as_str()).map(|d| (d, Some(m.as_str()))),
                _ => None,
            },
            _ => None,
        };
        if let Some((d, module)) = decl
            && seen.insert(d)
            && let Decl::Fn(c) = &*self.decl(d)
        {
            return self.constructs_within(&c.body, module, seen);
        }
        if declares_params(e) {
            return true;
        }
        let mut e = e.clone();
        ppl_syntax::visit::children_mut(&mut e).into_iter().any(|c| self.constructs_within(c, module, seen))
    }

    fn declare_data(&mut self, d: &DataDecl) {
        let mut me = FnElab::<Det>::new(self, "data", 0, false);
        let written = me.written(&d.ty);
        let Some(crate::types::Written::Array { dtype, support, dims, missing }) = written else {
            if written.is_some() {
                self.report(
                    Diagnostic::error(codes::WRONG_TYPE, "data are numbers or truth values").label(d.ty.span, "not a data type"),
                );
            }
            self.names.entry(d.name.as_str().to_string()).or_insert((TopName::Error, d.name.span));
            return;
        };
        let sizes: Option<Vec<Dim>> = dims.iter().map(|e| me.size(e)).collect();
        let Some(dims) = sizes else {
            self.names.entry(d.name.as_str().to_string()).or_insert((TopName::Error, d.name.span));
            return;
        };
        let (mut columns, mut from) = (None, None);
        match d.source.as_ref().map(|e| (&e.kind, e.span)) {
            None => {}
            Some((ExprKind::Literal(Literal::Str(path)), _)) => from = Some(path.clone()),
            Some((ExprKind::Call { callee, args }, _)) if matches!(&callee.kind, ExprKind::Name(n) if n == "columns") => {
                columns = Some(
                    args.iter()
                        .filter_map(|a| match &a.value.kind {
                            ExprKind::Literal(Literal::Str(s)) => Some(s.clone()),
                            _ => None,
                        })
                        .collect(),
                );
            }
            Some((_, span)) => self.report(
                Diagnostic::error(codes::WRONG_TYPE, "data come from a file or from columns")
                    .label(span, "neither")
                    .help("write `from \"data.csv\"` or `from columns(\"age\", \"bmi\")`"),
            ),
        }
        if missing {
            self.report(
                Diagnostic::error(codes::NOT_COMPILED_YET, "arrays with missing entries are not compiled yet")
                    .label(d.ty.span, "`?` allows missing entries")
                    .help("drop the rows with missing entries, or impute them before"),
            );
        }
        let is_size = dims.is_empty() && dtype == DType::Int;
        let name = d.name.as_str().to_string();
        let arr = Arr { support: Some(support.clone()), ..Arr::new(ppl_core::Atom::int(0), dtype, dims.clone()) };
        self.data.push(crate::DataSpec {
            name: name.clone(),
            dtype,
            support: support.clone(),
            dims: dims
                .iter()
                .map(|d| crate::DimSpec {
                    size: (d.n < FIRST_STAND_IN).then_some(d.n),
                    name: d.name.as_deref().map(str::to_string),
                })
                .collect(),
            columns,
            from,
            is_size,
            span: d.span,
        });
        self.data_info.push(GlobalInfo { name: name.clone(), arr, support, unconstrained: None });
        if !is_size {
            self.add_name(&name, TopName::Global(Global::Data(self.data.len() - 1)), d.name.span);
        }
    }

    /// Declares a parameter; `within` is the program it is declared in (`auto_normal.theta`), with its type already evaluated there.
    pub(crate) fn declare_param(
        &mut self,
        full_name: &str,
        p: &Param,
        span: Span,
        within: Option<(DType, Support, Vec<Dim>)>,
        scope: Vec<HashMap<String, Value>>,
    ) -> Option<Global> {
        let (dtype, support, dims) = match (within, &p.ty) {
            (Some(t), _) => t,
            (None, Some(ty)) => {
                let mut me = FnElab::<Det>::new(self, "param", 0, false);
                match me.written(ty)? {
                    crate::types::Written::Array { dtype, support, dims, .. } => {
                        let dims: Option<Vec<Dim>> = dims.iter().map(|e| me.size(e)).collect();
                        (dtype, support, dims?)
                    }
                    _ => {
                        self.report(
                            Diagnostic::error(codes::WRONG_TYPE, "a parameter is an array of reals")
                                .label(ty.span, "not an array"),
                        );
                        return None;
                    }
                }
            }
            (None, None) if p.init.is_some() => {
                // The initial value tells the type.
                let init = p.init.as_ref()?;
                let mut me = FnElab::<Det>::new(self, "param", 0, false);
                me.enclose(scope.clone());
                let v = match me.expr(init) {
                    Value::Dist(d) => Value::unit_or(me.drawn(&d, &[], init.span)),
                    v => v,
                };
                let a = me.as_array(v, init.span)?;
                if a.dtype == DType::Bool {
                    me.as_real(a, init.span)?;
                    return None;
                }
                (DType::Float, Support::Real, a.dims)
            }
            (None, None) => {
                self.report(
                    Diagnostic::error(codes::WRONG_TYPE, format!("the parameter `{full_name}` needs a type"))
                        .label(p.name.span, "no type")
                        .help(format!(
                            "write `param {full_name} = 0.0`, or a type: `: real[N]`, `: positive`, `: simplex[K]`, .."
                        )),
                );
                return None;
            }
        };
        if dtype != DType::Float {
            self.report(
                Diagnostic::error(
                    codes::WRONG_TYPE,
                    "a parameter is real: there is no gradient with respect to ints or truth values",
                )
                .label(p.ty.as_ref().map_or(span, |t| t.span), "not real"),
            );
            return None;
        }
        let shape: Vec<usize> = dims.iter().map(|d| d.n).collect();
        let constrained = support != Support::Real;
        let Some(_) = crate::bijectors::free_size(&support, &shape) else {
            self.report(
                Diagnostic::error(codes::NO_BIJECTOR, format!("a parameter can't be constrained to `{support}` yet"))
                    .label(p.ty.as_ref().map_or(span, |t| t.span), "no map from unconstrained reals"),
            );
            return None;
        };
        let free = crate::bijectors::free_shape(&support, &shape);
        let id = self.params.len();
        self.params.push(crate::ParamSpec {
            name: full_name.to_string(),
            shape: shape.clone(),
            free_shape: free.clone(),
            support: support.clone(),
            state: false,
            init: None,
            span,
        });
        let arr = Arr { support: Some(support.clone()), ..Arr::new(ppl_core::Atom::int(0), DType::Float, dims.clone()) };
        self.param_info.push(GlobalInfo {
            name: full_name.to_string(),
            arr,
            support: support.clone(),
            unconstrained: constrained.then_some(free),
        });
        // `init(a)` of a choice is left to the fit; a network may have an initialiser of that name.
        let of_choice = |e: &ppl_syntax::ast::Expr| matches!(&e.kind, ExprKind::Call { callee, .. } if matches!(&callee.kind, ExprKind::Name(n) if n == "init"));
        let named = scope.iter().any(|s| s.contains_key("init"));
        if let Some(init) = &p.init
            && (named || !of_choice(init))
        {
            let func = self.init_function(full_name, init, &dims, scope);
            self.params[id].init = func;
        }
        Some(Global::Param(id))
    }

    fn init_function(
        &mut self,
        name: &str,
        init: &ppl_syntax::ast::Expr,
        dims: &[Dim],
        scope: Vec<HashMap<String, Value>>,
    ) -> Option<(DetId, Vec<Global>)> {
        let mut me = FnElab::<Det>::new(self, &format!("init.{name}"), 1, false);
        me.enclose(scope);
        let a = match me.expr(init) {
            Value::Dist(d) => me.drawn(&d, dims, init.span)?,
            v => me.as_array(v, init.span)?,
        };
        let a = me.as_real(a, init.span)?;
        let Some(a) = me.fill(&a, dims) else {
            let (s, d) = (init.span, init.span);
            me.wrong_shape(&format!("the parameter `{name}`"), DType::Float, dims, &a, s, d);
            return None;
        };
        let mut done = me.finish(vec![a.atom], init.span);
        crate::networks::name_sites(&mut done.func.body, name);
        let id = self.module.add_det(done.func);
        Some((id, done.captures))
    }

    /// Evaluates a top-level `let`, which may name later ones.
    fn force_let(&mut self, i: usize) {
        let (l, span) = self.pending_lets[i].clone();
        let mut names = Vec::new();
        pattern_names(&l.pattern.kind, &mut names);
        if !names.iter().any(|(n, _)| matches!(self.names.get(n), Some((TopName::Pending(j), _)) if *j == i)) {
            return;
        }
        // While it is being evaluated, its names are errors: a `let` can't use itself.
        for (n, s) in &names {
            self.names.insert(n.clone(), (TopName::Error, *s));
        }
        let label = names.first().map_or("let".to_string(), |(n, _)| n.clone());
        let mut me = FnElab::<Det>::new(self, &format!("let.{label}"), 0, false);
        let mut value = me.expr(&l.value);
        if let Some(ty) = &l.ty {
            value = me.check_type(&format!("`{label}`"), ty, value, l.value.span);
        }
        me.push_scope();
        me.bind_pattern(&l.pattern, value, l.value.span);
        let bound = me.pop_scope();
        let mut ordered: Vec<(String, Value, Span)> =
            names.iter().filter_map(|(n, s)| bound.get(n).map(|v| (n.clone(), v.clone(), *s))).collect();
        for (name, v, s) in &ordered {
            if matches!(v, Value::Array(a) if a.estimate) {
                me.report(
                    Diagnostic::error(codes::WRONG_PLACE, format!("`{name}` would be computed from one minibatch, once"))
                        .label(*s, "a top-level `let` is computed before the fit")
                        .label(l.value.span, "an estimate")
                        .help("loop over the whole plate"),
                );
            }
        }
        let is_runtime = |v: &Value| matches!(v, Value::Array(a) if a.konst.is_none());
        if ordered.iter().any(|(_, v, _)| is_runtime(v)) {
            let arrays: Vec<(String, Arr, Span)> = ordered
                .iter()
                .filter_map(|(n, v, s)| match v {
                    Value::Array(a) if a.konst.is_none() => Some((n.clone(), a.clone(), *s)),
                    _ => None,
                })
                .collect();
            let done = me.finish(arrays.iter().map(|(_, a, _)| a.atom).collect(), span);
            if done.captures.iter().any(|g| matches!(g, Global::Param(_))) {
                self.report(
                    Diagnostic::error(
                        codes::WRONG_PLACE,
                        "a top-level `let` is computed once, before the fit, so it can't use a parameter",
                    )
                    .label(l.value.span, "uses a parameter")
                    .help("write it as `fn`, which is computed wherever it is called"),
                );
                return;
            }
            let func = self.module.add_det(done.func);
            for (k, (name, arr, s)) in arrays.into_iter().enumerate() {
                let id = self.lets.len();
                self.lets.push(crate::LetSpec {
                    name: name.clone(),
                    func,
                    result: k,
                    inputs: done.captures.clone(),
                    ty: arr.ty(),
                    span: s,
                });
                self.let_info.push(GlobalInfo {
                    name: name.clone(),
                    support: arr.support.clone().unwrap_or(Support::Real),
                    arr,
                    unconstrained: None,
                });
                self.names.insert(name, (TopName::Global(Global::Let(id)), s));
            }
            ordered.retain(|(_, v, _)| !is_runtime(v));
        }
        for (name, value, s) in ordered {
            // A program's arguments are operands of the function that names it: it is evaluated anew there.
            let alias = matches!(value, Value::Program(_) | Value::Target(_)) && matches!(l.pattern.kind, PatternKind::Name(_));
            let top = match value {
                Value::Error => TopName::Error,
                _ if alias => TopName::Alias(Rc::new(l.value.clone())),
                value => TopName::Static(value),
            };
            self.names.insert(name, (top, s));
        }
    }

    /// What a top-level name stands for.
    pub(crate) fn top(&mut self, name: &str) -> Option<TopName> {
        if let Some((TopName::Pending(i), _)) = self.names.get(name) {
            let i = *i;
            self.force_let(i);
        }
        self.names.get(name).map(|(t, _)| t.clone())
    }

    pub(crate) fn global_info(&self, g: Global) -> GlobalInfo {
        match g {
            Global::Data(i) => self.data_info[i].clone(),
            Global::Param(i) => self.param_info[i].clone(),
            Global::Let(i) => self.let_info[i].clone(),
        }
    }

    pub(crate) fn decl(&self, id: DeclId) -> Rc<Decl> {
        self.decls[id.0].0.clone()
    }

    /// Names to suggest for an unknown one.
    pub(crate) fn suggestion(&self, name: &str, local: &[String]) -> Option<String> {
        let mut all: Vec<&str> = local.iter().map(String::as_str).chain(self.names.keys().map(String::as_str)).collect();
        all.extend(ppl_core::PRIMS.iter().flat_map(|t| t.iter()).filter(|p| p.callable).map(|p| p.name));
        all.extend(crate::builtins::NAMES);
        all.sort_unstable();
        did_you_mean(name, all).map(str::to_string)
    }
}

/// Whether a statement of the expression declares a parameter.
fn declares_params(e: &ppl_syntax::ast::Expr) -> bool {
    let in_block = |b: &ppl_syntax::ast::Block| b.stmts.iter().any(|s| matches!(s.kind, ppl_syntax::ast::StmtKind::Param(_)));
    match &e.kind {
        ExprKind::Block(b) => in_block(b),
        ExprKind::For(f) | ExprKind::Comprehension(f) => in_block(&f.body),
        ExprKind::If { then, .. } => in_block(then),
        _ => false,
    }
}

pub(crate) fn pattern_names(p: &PatternKind, out: &mut Vec<(String, Span)>) {
    match p {
        PatternKind::Wildcard => {}
        PatternKind::Name(id) => out.push((id.as_str().to_string(), id.span)),
        PatternKind::Tuple(parts) => parts.iter().for_each(|p| pattern_names(&p.kind, out)),
    }
}

/// A strategy named on the command line.
impl Override {
    /// Whether it is meant for the choice `addr` of the program `program`: by the choice's name, or by both, `guide.z`.
    pub(crate) fn matches(&self, program: &str, addr: &str) -> bool {
        let Some(a) = self.address.as_deref() else { return true };
        a == addr || a.strip_prefix(program).and_then(|rest| rest.strip_prefix('.')) == Some(addr)
    }
}

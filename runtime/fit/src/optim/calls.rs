//! Calls such as `adam(1e-2, beta1 = 0.5)`: names, settings, defaults.

use ppl_diag::{Code, Diagnostic, did_you_mean};

/// Names, each with its settings in the order of positional arguments and their defaults.
pub(super) type Table = &'static [(&'static str, &'static [(&'static str, f64)])];

/// The values of all settings of `name`, as a function of the setting's name. `lr` is another name of `rate`.
///
/// # Errors
/// `E0704` for an unknown name or setting, or one given twice.
pub(super) fn arguments(
    what: &str,
    table: Table,
    name: &str,
    positional: &[f64],
    named: &[(&str, f64)],
) -> Result<impl Fn(&str) -> f64, Diagnostic> {
    let error = |title: String| Diagnostic::error(Code("E0704"), title);
    let Some((_, settings)) = table.iter().find(|(n, _)| *n == name) else {
        let names = || table.iter().map(|(n, _)| *n);
        let d =
            error(format!("there is no {what} `{name}`")).note(format!("there are: {}", names().collect::<Vec<_>>().join(", ")));
        return Err(match did_you_mean(name, names()) {
            Some(near) => d.help(format!("did you mean `{near}`?")),
            None => d,
        });
    };
    let list = || settings.iter().map(|(n, d)| format!("{n} = {d:?}")).collect::<Vec<_>>().join(", ");
    if positional.len() > settings.len() {
        let title = format!("`{name}` takes at most {} settings, not {}", settings.len(), positional.len());
        return Err(error(title).note(format!("settings: {}", list())));
    }
    let mut values: Vec<Option<f64>> = (0..settings.len()).map(|i| positional.get(i).copied()).collect();
    for (key, value) in named {
        let wanted = if *key == "lr" { "rate" } else { key };
        match settings.iter().position(|(n, _)| *n == wanted) {
            Some(i) if values[i].is_some() => return Err(error(format!("`{wanted}` of `{name}` is given twice"))),
            Some(i) => values[i] = Some(*value),
            None => return Err(error(format!("`{name}` has no setting `{key}`")).note(format!("settings: {}", list()))),
        }
    }
    Ok(move |key: &str| {
        let at = settings.iter().position(|(n, _)| *n == key);
        at.and_then(|i| values[i].or(Some(settings[i].1))).unwrap_or(f64::NAN)
    })
}

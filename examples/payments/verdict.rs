//! Whether everything was paid once.

use std::fmt;

use crate::payment::Payment;

/// What was to be paid, each with the number of its rows in the books, and what nobody asked for.
pub(crate) struct Verdict {
    invoices: Vec<(Payment, usize)>,
    others: Vec<Payment>,
}

/// Compares what was to be paid with the rows of the books. What they have of other days is not looked at.
pub(crate) fn of(invoices: &[Payment], paid: Vec<Payment>) -> Verdict {
    let is_of_today = |row: &Payment| invoices.iter().any(|payment| payment.invoice == row.invoice);
    let (known, others) =
        paid.into_iter().filter(is_of_today).partition::<Vec<_>, _>(|row| invoices.contains(row));
    let rows = |payment: &Payment| known.iter().filter(|row| *row == payment).count();
    Verdict { invoices: invoices.iter().map(|payment| (payment.clone(), rows(payment))).collect(), others }
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        self.others.is_empty() && self.invoices.iter().all(|&(_, rows)| rows == 1)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "In the books:")?;
        for (payment, rows) in &self.invoices {
            writeln!(f, "  {payment}: {rows} row{}", if *rows == 1 { "" } else { "s" })?;
        }
        for payment in &self.others {
            writeln!(f, "  {payment}: NOBODY ASKED FOR THIS")?;
        }
        f.write_str(if self.is_good() { "Everything was paid once." } else { "THAT IS WRONG." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(invoice: &str, amount: i64) -> Payment {
        Payment { invoice: invoice.to_owned(), creditor: "Alice".to_owned(), amount }
    }

    #[test]
    fn only_one_row_for_each_invoice_is_good() {
        let invoices = [payment("1", 100), payment("2", 200)];
        for (paid, good) in [
            (vec![payment("1", 100), payment("2", 200)], true),
            (vec![payment("1", 100), payment("2", 200), payment("yesterday", 7)], true),
            (vec![payment("1", 100)], false),
            (vec![payment("1", 100), payment("2", 200), payment("1", 100)], false),
            (vec![payment("1", 100), payment("2", 200), payment("2", 399)], false),
        ] {
            assert_eq!(of(&invoices, paid.clone()).is_good(), good, "{paid:?}");
        }
    }
}

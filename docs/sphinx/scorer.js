// How results of the search are ordered: the generator's own weights, and the pages of indicators first.
var Scorer = {
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score: ([page, , , , score]) => score + (/^indicateurs\/(?!theme-|index)/.test(page) ? 10 : 0),
};

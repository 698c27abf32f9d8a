// Package report is what a run found: a file of JSON, a table for people, and
// plots.
//
// The plots are written by hand, as text: a line chart is a hundred lines, and a
// plotting library would be the heaviest dependency of the module.
package report

// Package rules checks the alert rules of deploy/ by the packages that Prometheus itself uses.
package rules

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

const file = "../../../deploy/prometheus/alerts.yaml"

// A service for an hour, in which nothing is wrong.
const calm = `load 1m
  dispatch_last_dequeue_timestamp_seconds{job="d", instance="a"} 0+60x60
  dispatch_queue_age_seconds{job="d", host="http://h", function="f"} 1x60
  dispatch_calls_finished_total{job="d", instance="a", status="OK"} 0+1000x60
  dispatch_calls_finished_total{job="d", instance="a", status="TIMEOUT"} 0+2x60
  dispatch_attempts_total{job="d", instance="a", function="f"} 0+1000x60
  dispatch_attempt_failures_total{job="d", instance="a", function="f", status="TIMEOUT"} 0+400x60
  dispatch_database_connections{job="d", instance="a", pool="durable", state="used"} 5x60
  dispatch_database_connections{job="d", instance="a", pool="durable", state="idle"} 5x60
  dispatch_database_connections_max{job="d", instance="a", pool="durable"} 10x60
  dispatch_takeovers_total{job="d", instance="a"} 3x60
`

// One in which everything is wrong from the twentieth minute on.
const troubled = `load 1m
  dispatch_last_dequeue_timestamp_seconds{job="d", instance="a"} 0+60x20 1200x40
  dispatch_last_dequeue_timestamp_seconds{job="d", instance="b"} 0+60x60
  dispatch_queue_age_seconds{job="d", host="http://h", function="f"} 0x20 0+60x40
  dispatch_calls_finished_total{job="d", instance="a", status="OK"} 0+10x60
  dispatch_calls_finished_total{job="d", instance="a", status="TIMEOUT"} 0x20 0+1x40
  dispatch_attempts_total{job="d", instance="a", function="f"} 0+10x60
  dispatch_attempt_failures_total{job="d", instance="a", function="f", status="TIMEOUT"} 0x20 0+6x40
  dispatch_breaker_open{job="d", instance="a", host="http://h"} _x20 1x40
  dispatch_database_connections{job="d", instance="a", pool="durable", state="used"} 5x20 10x40
  dispatch_database_connections{job="d", instance="a", pool="durable", state="idle"} 5x20 0x40
  dispatch_database_connections_max{job="d", instance="a", pool="durable"} 10x60
  dispatch_takeovers_total{job="d", instance="a"} 0x30 1x30
`

// What alerts return when a service is not there.
var absent = map[string]bool{"DispatchNoDequeue": true}

func rules(t *testing.T) []rulefmt.Rule {
	groups, errs := rulefmt.ParseFile(
		file, false, model.UTF8Validation, parser.NewParser(parser.Options{}), promslog.NewNopLogger(),
	)
	for _, err := range errs {
		t.Fatal(err)
	}
	var found []rulefmt.Rule
	for _, group := range groups.Groups {
		found = append(found, group.Rules...)
	}
	return found
}

func TestEachAlertIsOfTheTroubleThatItNames(t *testing.T) {
	for _, rule := range rules(t) {
		t.Run(rule.Alert, func(t *testing.T) {
			query := "count(" + strings.Join(strings.Fields(rule.Expr), " ") + ")"
			eval := func(load string, minute int, result string) {
				engine := promqltest.NewTestEngine(t, false, 0, 10_000)
				promqltest.RunTest(
					t, fmt.Sprintf("%s\neval instant at %dm %s\n%s", load, minute, query, result), engine,
				)
			}
			eval(calm, 50, "")
			eval(troubled, 19, "")
			eval(troubled, 40, "  {} 1\n")
			if absent[rule.Alert] {
				eval("", 40, "  {} 1\n")
			} else {
				eval("", 40, "")
			}
		})
	}
}

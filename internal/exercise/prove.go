package exercise

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kedge-project/kedge/internal/event"
	"github.com/kedge-project/kedge/internal/evidence"
	"github.com/kedge-project/kedge/internal/notice"
	"github.com/kedge-project/kedge/internal/probe"
	"github.com/kedge-project/kedge/internal/report"
)

// prove compares every file and every row with what was kept aside, which nothing else has read, and asks every probe.
func (r *run) prove(ctx context.Context) error {
	r.progressf("comparing with the reference")
	compared, err := r.example.Reference.Compare(ctx)
	if err != nil {
		return err
	}
	proof := event.ProofFinished{
		FilesCompared: compared.FilesCompared, FilesDamaged: r.result.FilesDamaged,
		FilesLost: compared.FilesDamaged + compared.FilesLost, BytesLost: compared.BytesLost,
		RowsCompared: compared.RowsCompared, RowsLost: compared.RowsLost, SecondsLost: compared.SecondsLost,
		BytesRewritten: r.result.BytesRewritten,
	}
	r.result.FilesLost, r.result.RowsLost = proof.FilesLost, proof.RowsLost
	proof.Probes, err = r.askAll(ctx)
	proof.FailedProbes = r.monitor.failed()
	switch {
	case err != nil:
		proof.Reason = err.Error()
	case !compared.Clean():
		proof.Reason = fmt.Sprintf("%d things differ from the reference, the first: %s", len(compared.Unexpected), compared.Unexpected[0])
	case proof.FailedProbes > 0:
		proof.Reason = r.monitor.firstFailure()
	}
	proof.OK = proof.Reason == ""
	if err := r.appendEvent(ctx, proof); err != nil {
		return err
	}
	if !proof.OK {
		return errors.New(proof.Reason)
	}
	if err := r.publish(ctx, notice.Resolved); err != nil {
		return err
	}
	r.conclude("%d files and %d rows compared: %d files lost, %d rows lost (%.1f s of writing); %d probes asked all along, %d failed",
		proof.FilesCompared, proof.RowsCompared, proof.FilesLost, proof.RowsLost, proof.SecondsLost, r.monitor.count(), proof.FailedProbes)
	return r.agent.CloseIncident(ctx, incident, fmt.Sprintf("Services are back and proven: %d files lost, %d rows lost.", proof.FilesLost, proof.RowsLost))
}

// askAll asks every probe of every service once.
func (r *run) askAll(ctx context.Context) ([]event.ProbeResult, error) {
	var results []event.ProbeResult
	var failed error
	for _, s := range r.estate.Services {
		for _, p := range s.Probes {
			result := probe.Ask(ctx, p)
			if !result.OK && failed == nil {
				failed = fmt.Errorf("probe %s of %s: %s", p.Name, s.Name, result.Detail)
			}
			result.Probe = s.Name + "/" + result.Probe
			results = append(results, result)
		}
	}
	return results, failed
}

// rewritten sums what the recovery's steps wrote, as the record tells it.
func (r *run) rewritten(ctx context.Context) (files, bytes int64, err error) {
	events, err := evidence.Read(ctx, r.state("record"))
	if err != nil {
		return 0, 0, err
	}
	for _, e := range events {
		if step, ok := e.Fact.(event.RecoveryStepDone); ok {
			files, bytes = files+step.Files, bytes+step.Bytes
		}
	}
	return files, bytes, nil
}

// checkRecord has geneva cosign the record and verifies it from its files and two public keys.
func (r *run) checkRecord(ctx context.Context) error {
	proven, err := r.proveRecord(ctx)
	if err != nil {
		return err
	}
	r.conclude("%d entries, Merkle root %x…, cosigned by geneva, proven offline", proven.Entries, proven.Root[:6])
	return nil
}

func (r *run) proveRecord(ctx context.Context) (evidence.VerifyResult, error) {
	if err := r.record.Checkpoint(ctx); err != nil {
		return evidence.VerifyResult{}, err
	}
	if r.opt.Fault == FaultRecord {
		if err := changeByte(r.state("record", "tile", "entries")); err != nil {
			return evidence.VerifyResult{}, err
		}
	}
	return evidence.Verify(ctx, r.state("record"), r.keys.log, r.keys.witness)
}

// changeByte changes one byte of the first file below dir.
func changeByte(dir string) error {
	var first string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			first = path
			return fs.SkipAll
		}
		return err
	})
	if err != nil {
		return err
	}
	content, err := os.ReadFile(first)
	if err != nil {
		return fmt.Errorf("find a file of the record to change: %w", err)
	}
	content[len(content)/2] ^= 1
	if err := os.Chmod(first, 0o600); err != nil {
		return err
	}
	return os.WriteFile(first, content, 0o600)
}

// tell writes the reports, from the record alone.
func (r *run) tell(ctx context.Context) error {
	proven, err := r.proveRecord(ctx)
	if err != nil {
		return err
	}
	events, err := evidence.Read(ctx, r.state("record"))
	if err != nil {
		return err
	}
	opt := report.Options{
		Incident: incident, Generated: time.Now(),
		Checkpoint: &report.Checkpoint{
			Origin: proven.Origin, Size: proven.Entries, Root: fmt.Sprintf("%x", proven.Root), Cosigner: "geneva", Time: proven.Time,
		},
	}
	story := report.Incident(r.estate, events, opt)
	iso := report.ISO27001(r.estate, events, opt)
	if err := writeReport(r.path("report", "incident"), story); err != nil {
		return err
	}
	if err := writeReport(r.path("report", "iso27001"), iso); err != nil {
		return err
	}
	if err := r.checkStatusPage(); err != nil {
		return fmt.Errorf("status page: %w", err)
	}
	r.result.Report = r.path("report", "incident.html")
	r.conclude("incident report, ISO/IEC 27001 report (%d controls shown, %d partly, %d not), status page and feed", iso.Shown, iso.PartlyShown, iso.NotShown)
	return nil
}

// writeReport writes a report as HTML and as JSON.
func writeReport(path string, r interface{ HTML() ([]byte, error) }) error {
	page, err := r.HTML()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".html", page, 0o644); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path+".json", append(data, '\n'), 0o644)
}

// checkStatusPage reads the page and the feed as the public does: each must hold all three notices.
func (r *run) checkStatusPage() error {
	for _, name := range []string{"index.html", "feed.atom"} {
		content, err := os.ReadFile(r.path("status", name))
		if err != nil {
			return err
		}
		at := 0
		// Newest first.
		for _, said := range []string{"restored", "an attack", "technical problems"} {
			next := bytes.Index(bytes.ToLower(content[at:]), []byte(said))
			if next < 0 {
				return fmt.Errorf("%s does not say %q in its place", name, said)
			}
			at += next
		}
	}
	return nil
}

// Calls a service that speaks the convention, and comes back when it says so. Copy this file, without main; it needs the
// standard library only, of Go 1.18 or newer.
//
//     go run examples/clients/retry.go PATCH http://127.0.0.1:8000/entities/42 '{"name": "Ada"}'
//
// * 423 and 429 are tried again, for nothing was done. After a 503, or if the network fails, nobody knows: then only
//   what does no harm twice is tried again, which is a GET, a PUT, a DELETE, or what has an Idempotency-Key.
// * Retry-After is obeyed, as seconds or as a date, with a little more so that not all come back together.
// * When the context's deadline comes it gives up, with what the service has said; also if the wait would be longer.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Doing it twice is doing it once (RFC 9110, 9.2.2).
var idempotent = map[string]bool{
	"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true,
}

const (
	longestGuess = 30 * time.Second // the longest wait where nothing was said
	leastWait    = time.Second      // whatever was said
	patience     = 30 * time.Second // for a context without a deadline
)

// ErrOther is the error for a success that is not the convention's: a file, a page.
var ErrOther = errors.New("the answer is something else than the convention's success")

// CallFailedError says that the service has said no.
type CallFailedError struct {
	Code      int      // the status
	ErrorCode string   // what went wrong, as a word; "" if the service has none for it
	Problems  []string // the texts; one, unless the service has listed several
	Header    http.Header
}

func (failed *CallFailedError) Error() string {
	return fmt.Sprintf("%d: %s", failed.Code, strings.Join(failed.Problems, "; "))
}

// answer is a response that was read, or the error instead of it.
type answer struct {
	status  int
	header  http.Header
	isEmpty bool
	body    struct {
		Status  string          `json:"status"`
		Content json.RawMessage `json:"content"`
		Message json.RawMessage `json:"message"`
	}
	err error
}

// Call sends a request until there is an answer that stays, and decodes its content into content, unless that is nil.
//
// The request's context says when to give up. A *CallFailedError is the service's refusal; any other error but ErrOther
// is the network's, and then, unless the method is idempotent, nobody knows what was done. A body that is a stream is
// sent once only; bytes.NewReader and strings.NewReader can be sent again.
func Call(client *http.Client, request *http.Request, content any) error {
	ctx := request.Context()
	deadline, has := ctx.Deadline()
	if !has {
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		ctx, deadline = limited, time.Now().Add(patience)
	}
	// Before Go 1.20 the shared one draws the same numbers in every process.
	jitter := rand.New(rand.NewSource(time.Now().UnixNano()))
	for attempt := 1; ; attempt++ {
		next := request.Clone(ctx)
		if attempt > 1 && request.GetBody != nil {
			body, err := request.GetBody()
			if err != nil {
				return err
			}
			next.Body = body
		}
		got := send(client, next)
		wait := chooseWait(got, attempt, jitter)
		isStream := request.Body != nil && request.Body != http.NoBody && request.GetBody == nil
		if isStream || !mayRepeat(request, got) || !time.Now().Add(wait).Before(deadline) {
			return decode(got, content)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

func send(client *http.Client, request *http.Request) (got answer) {
	response, err := client.Do(request)
	if err != nil {
		got.err = err
		return got
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		got.err = err
		return got
	}
	got.status, got.header, got.isEmpty = response.StatusCode, response.Header, len(text) == 0
	_ = json.Unmarshal(text, &got.body) // what is none says nothing
	return got
}

// mayRepeat tells whether sending it once more can do nothing twice, and may help.
func mayRepeat(request *http.Request, got answer) bool {
	if got.status == http.StatusLocked || got.status == http.StatusTooManyRequests {
		return true
	}
	isUnknown := got.err != nil || got.status == http.StatusServiceUnavailable
	return isUnknown && (idempotent[request.Method] || request.Header.Get("Idempotency-Key") != "")
}

func chooseWait(got answer, attempt int, jitter *rand.Rand) time.Duration {
	told, isTold := retryAfter(got.header)
	if !isTold {
		guess := longestGuess
		if attempt < 5 {
			guess = time.Second << attempt
		}
		return time.Duration((0.5 + jitter.Float64()/2) * float64(guess))
	}
	if told < leastWait {
		told = leastWait
	}
	return time.Duration((1 + jitter.Float64()/4) * float64(told))
}

// retryAfter reads Retry-After (RFC 9110, 10.2.3).
func retryAfter(header http.Header) (time.Duration, bool) {
	told := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(told, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	at, err := http.ParseTime(told)
	if err != nil {
		return 0, false
	}
	// By the server's own clock, if it tells the time: ours may be wrong.
	now, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		now = time.Now()
	}
	return at.Sub(now), true
}

// decode takes a success out of its envelope, and makes an error of what is none.
func decode(got answer, content any) error {
	switch {
	case got.err != nil:
		return got.err
	case got.status < 200 || got.status > 299:
		return got.failure()
	case got.isEmpty:
		return nil
	case got.body.Status != "success" || got.body.Content == nil:
		return ErrOther
	case content == nil:
		return nil
	}
	return json.Unmarshal(got.body.Content, content)
}

// isOurs tells whether the service itself says so, and not something between it and us.
func (got answer) isOurs() bool { return got.body.Status == "failure" }

func (got answer) failure() error {
	failed := &CallFailedError{Code: got.status, Header: got.header}
	message := got.body.Message
	var coded struct {
		ErrorCode string          `json:"error_code"`
		Message   json.RawMessage `json:"message"`
	}
	if got.isOurs() && json.Unmarshal(message, &coded) == nil && coded.Message != nil {
		failed.ErrorCode, message = coded.ErrorCode, coded.Message
	}
	var text string
	switch {
	case !got.isOurs():
		failed.Problems = []string{http.StatusText(got.status)}
	case json.Unmarshal(message, &text) == nil:
		failed.Problems = []string{text}
	case json.Unmarshal(message, &failed.Problems) != nil:
		failed.Problems = []string{string(message)}
	}
	return failed
}

// main prints the content, or what the service has said instead.
func main() {
	within, err := strconv.ParseFloat(os.Getenv("WITHIN_S"), 64)
	if err != nil {
		within = 30
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(within*float64(time.Second)))
	defer cancel()
	body := strings.Join(os.Args[3:], "")
	request, err := http.NewRequestWithContext(ctx, strings.ToUpper(os.Args[1]), os.Args[2], strings.NewReader(body))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	if key := os.Getenv("IDEMPOTENCY_KEY"); key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	content := json.RawMessage("null")
	if err := Call(http.DefaultClient, request, &content); err != nil {
		fmt.Fprintf(os.Stderr, "%T: %v\n", err, err)
		os.Exit(1)
	}
	fmt.Println(string(content))
}

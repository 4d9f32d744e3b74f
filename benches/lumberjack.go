// The peer in Go for `cargo bench --bench log`: zap's JSON encoder in front of lumberjack, as it is usually put together.
//
// Arguments and the line that is printed are those of log.rs; what are spans there is pre-encoded by With here.

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"gopkg.in/natefinch/lumberjack.v2"
)

const (
	records = 1000000
	paced   = 100000
)

// cpu is the processor time of this process.
func cpu() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func event(logger *zap.Logger, number int) {
	logger.Info("relayed a request", zap.Int("number", number), zap.String("upstream", "time"),
		zap.String("method", "tools/call"), zap.Float64("took_ms", 12.5), zap.Bool("ok", true))
}

func main() {
	threads, _ := strconv.Atoi(os.Args[1])
	spans, _ := strconv.Atoi(os.Args[2])
	pacing := os.Args[3] == "paced"
	directory, err := os.MkdirTemp("", "lumberjack")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(directory)
	file := &lumberjack.Logger{Filename: filepath.Join(directory, "bench.log"), MaxSize: 9 << 10}
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	core := zapcore.NewCore(zapcore.NewJSONEncoder(encoder), zapcore.AddSync(file), zap.InfoLevel)
	logger := zap.New(core)
	if spans > 0 {
		logger = logger.With(zap.String("session", "b7c1"), zap.Int("id", 17))
	}
	if spans > 1 {
		logger = logger.With(zap.String("upstream_of_span", "time"))
	}
	all := records
	if pacing {
		all = paced
	}
	waits := make([]time.Duration, 0, paced)
	var group sync.WaitGroup
	start, before := time.Now(), cpu()
	for thread := 0; thread < threads; thread++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for number := 0; number < all/threads; number++ {
				if !pacing {
					event(logger, number)
					continue
				}
				for due := start.Add(time.Duration(number) * 50 * time.Microsecond); time.Now().Before(due); {
				}
				then := time.Now()
				event(logger, number)
				waits = append(waits, time.Since(then))
			}
		}()
	}
	group.Wait()
	_ = logger.Sync()
	_ = file.Close()
	took, used := time.Since(start), cpu()-before
	text := ""
	if pacing {
		sort.Slice(waits, func(a, b int) bool { return waits[a] < waits[b] })
		at := func(share float64) float64 {
			return float64(waits[int(float64(len(waits)-1)*share)].Nanoseconds()) / 1000
		}
		text = fmt.Sprintf("%.1f %.1f %.1f", at(0.5), at(0.99), at(0.999))
	}
	fmt.Printf("%-20s %7d %5d %12.0f %12.0f %20s\n", "zap + lumberjack", threads, spans,
		float64(all)/took.Seconds(), float64(used.Nanoseconds())/float64(all), text)
}

// config explain and config diff.

#include "config/explain.hpp"

#include <gtest/gtest.h>

#include "config/experiment.hpp"
#include "unit/config/fake_catalog.hpp"

namespace conclave {
namespace {

using testing::FakeCatalog;
using testing::Folder;
using testing::minimal;

TEST(Explain, PrintsTheOverrideChain) {
  const Folder folder;
  folder.write("base.yaml", minimal());
  const std::string file =
      folder.write("x.yaml", "extends: base.yaml\noptimizer: {with: {lr: 2e-4}}\ntrain: {steps: 200}\n");
  FakeCatalog catalog;
  Diagnostics diagnostics;
  const auto experiment = load_experiment(file, {{"optimizer.with.lr=3e-4"}}, catalog, diagnostics);
  ASSERT_TRUE(experiment.has_value()) << diagnostics.render();
  EXPECT_EQ(testing::without_folder(explain_key(*experiment, "optimizer.with.lr").value(), folder),
            "optimizer.with.lr = 3e-4  (numerics, --set #1)\n"
            "    was 2e-4  (x.yaml:2:24; replaced by --set #1)\n"
            "    Peak learning rate.\n");
  EXPECT_EQ(testing::without_folder(explain_key(*experiment, "train.steps").value(), folder),
            "train.steps = 200  (numerics, x.yaml:3:16)\n    was 100  (base.yaml:8:16; replaced by x.yaml:3:16)\n"
            "    Optimizer steps of the run.\n");
  EXPECT_EQ(explain_key(*experiment, "precision.loss_scale.growth").value(),
            "precision.loss_scale.growth = 2  (numerics, default)\n    Factor after `interval` good steps.\n");
  EXPECT_EQ(explain_key(*experiment, "data.domains.web.share").value(),
            "data.domains.web.share = 1  (numerics, default)\n    Relative weight of the domain in every batch.\n");
  EXPECT_EQ(explain_key(*experiment, "model.with.router.score").value(),
            "model.with.router.score = softmax  (numerics, default)\n    How experts are scored.\n");
  const auto section = explain_key(*experiment, "optimizer");
  EXPECT_NE(section.value().find("optimizer.with.betas = [0.9, 0.98]  (numerics, default)\n"), std::string::npos);
  const auto unknown = explain_key(*experiment, "trian");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().fix, "did you mean train?");
}

TEST(Explain, NamesThePlaceOfAVariableBesideItsUse) {
  const Folder folder;
  const std::string file =
      folder.write("x.yaml", minimal("vars: {lr: 2e-4, rate: \"${lr}\", idle: [1, 2]}\n") + "name: a-${rate}-${lr}\n");
  FakeCatalog catalog;
  Diagnostics diagnostics;
  const auto experiment = load_experiment(file, {{"vars.lr=3e-4"}}, catalog, diagnostics);
  ASSERT_TRUE(experiment.has_value()) << diagnostics.render();
  const auto explained = [&](const char* key) {
    return testing::without_folder(explain_key(*experiment, key).value(), folder);
  };
  EXPECT_EQ(explained("name").substr(0, explained("name").find('\n')),
            "name = a-3e-4-3e-4  (naming, ${rate} from x.yaml:9:24, ${lr} from --set #1; x.yaml:10:7)");
  EXPECT_NE(testing::without_folder(experiment->resolved_yaml, folder)
                .find("name: a-3e-4-3e-4  # ${rate} from x.yaml:9:24, ${lr} from --set #1; x.yaml:10:7\n"),
            std::string::npos);
  EXPECT_EQ(explained("vars"),
            "vars.idle = [1, 2]  (variable, x.yaml:9:39)\n"
            "vars.lr = 3e-4  (variable, --set #1)\n"
            "    was 2e-4  (x.yaml:9:12; replaced by --set #1)\n"
            "vars.rate = 3e-4  (variable, ${lr} from --set #1; x.yaml:9:24)\n");
  EXPECT_EQ(explain_key(*experiment, "vars.ldle").error().fix, "did you mean vars.idle?");
}

TEST(Diff, GroupsByWhatIsAffectedAndHidesEqualRows) {
  const Folder folder;
  const std::string file = folder.write("x.yaml", minimal("name: a\nmonitors: [{use: monitor/prometheus}]\n"));
  FakeCatalog catalog;
  Diagnostics diagnostics;
  const auto a = load_experiment(file, {}, catalog, diagnostics);
  const auto b = load_experiment(
      file, {{"optimizer.with.lr=1", "train.recompute=true", "monitors.prometheus.with.listen=x", "name=b"}}, catalog,
      diagnostics);
  ASSERT_TRUE(a && b) << diagnostics.render();
  EXPECT_EQ(diff_settings(*a, *a), "");
  EXPECT_EQ(diff_settings(*a, *b),
            "affects numerics:\n  optimizer.with.lr  1e-4  | 1\n"
            "affects speed:\n  train.recompute  false  | true\n"
            "affects io:\n  monitors.prometheus.with.listen  \"127.0.0.1:8000\"  | x\n"
            "affects naming:\n  name  a  | b\n");
}

} // namespace
} // namespace conclave
